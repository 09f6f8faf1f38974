"""The plain copy of a volume whose voxels are compressed, or lie in many files."""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from seg_batch.core.errors import InputError
from seg_batch.core.run_files import staged_name
from seg_batch.core.units import show_bytes
from seg_batch.io.sources.formats.volumes.identity import volume_identity
from seg_batch.io.sources.formats.volumes.layout import VolumeLayout
from seg_batch.io.sources.formats.volumes.plain_copy import plain_copy

_READ_BYTES = 256 << 10
_PIECE_BYTES = 4 << 20
_SLACK_BYTES = 16 << 20  # some writers pad; more than this after the voxels is not padding
_PLAIN = ".raw"
# What decompression raises for damaged data, and what is raised here where the data ends too early.
DAMAGE = (zlib.error, EOFError, OSError, ValueError)


def stage_layout(layout: VolumeLayout, folder: Path) -> Path:
    """The copy in ``folder``, made now unless it is there whole; a plain file is its own. Memory stays at a few MiB.

    Its name is a digest of the original, so that the copy of another file is not taken for it.
    ``InputError`` when the data is damaged, cut short, or longer than its header says; ``OutputError`` when the
    folder can't be written to or is full."""
    if layout.is_plain:
        return layout.path
    path = layout.path
    mark = volume_identity(path, layout.files)["sha256_ends"]
    newest = max(file.stat().st_mtime_ns for file in (path, *layout.files))
    target = folder / staged_name((path.name, mark, newest), _PLAIN)
    return plain_copy(path, target, layout.total_bytes, voxel_bytes(layout))


def voxel_bytes(layout: VolumeLayout) -> Iterator[bytes]:
    """The voxels of all volumes as stored, in pieces; ``InputError`` where they are not as many as the header says."""
    for file in layout.files:
        left, skip = layout.file_bytes, layout.skip
        for piece in _data(layout, file):
            skipped, skip = piece[skip:], max(0, skip - len(piece))
            yield skipped[:left]
            left -= len(skipped)
            if left < -_SLACK_BYTES:
                raise InputError(
                    f"{file}: goes on after the {show_bytes(layout.file_bytes)} that its header declares; it "
                    "is damaged or made to fill the disk: don't use it"
                )
            if left <= 0 and layout.encoding == "raw":
                break
        if left > 0:
            held = show_bytes(layout.file_bytes - left)
            raise InputError(
                f"{file}: holds {held} of the {show_bytes(layout.file_bytes)} that its header declares: the "
                "volume is cut short; copy it again from its origin"
            )


def _data(layout: VolumeLayout, path: Path) -> Iterator[bytes]:
    start = layout.offset
    with path.open("rb") as file:
        file.seek(start if start >= 0 else max(0, file.seek(0, 2) - layout.file_bytes))
        if layout.encoding == "raw":
            yield from iter(lambda: file.read(_PIECE_BYTES), b"")
            return
        try:
            yield from _decompressed(file, layout.encoding)
        except DAMAGE as error:
            raise InputError(
                f"{path}: its compressed data is damaged ({error}); copy it again"
            ) from error


def _decompressed(file: BinaryIO, encoding: str) -> Iterator[bytes]:
    """The data of all members, in pieces of bounded size; what follows them and is no member is passed over."""
    rest = file.read(_READ_BYTES)
    begins = _member_begins(encoding, rest)
    while True:
        member: Any = bz2.BZ2Decompressor() if encoding == "bzip2" else zlib.decompressobj(wbits=47)
        while not member.eof:
            if encoding == "bzip2":
                piece = member.decompress(rest, _PIECE_BYTES)
                rest = b"" if not member.needs_input else file.read(_READ_BYTES)
                ended = member.needs_input and not rest
            else:
                piece = member.decompress(rest, _PIECE_BYTES)
                rest = member.unconsumed_tail or (b"" if member.eof else file.read(_READ_BYTES))
                ended = not rest
            if piece:
                yield piece
            if ended and not member.eof:
                raise EOFError("it ends within its data")
        rest = member.unused_data + file.read(4)
        if not begins or not rest.startswith(begins):
            return


def _member_begins(encoding: str, head: bytes) -> bytes:
    """The bytes with which further members begin: those of gzip and bzip2; zlib has one."""
    if encoding == "bzip2":
        return b"BZh"
    return b"\x1f\x8b" if head.startswith(b"\x1f\x8b") else b""
