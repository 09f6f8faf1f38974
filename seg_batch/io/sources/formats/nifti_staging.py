"""The uncompressed copy of a volume: each slice of a ``.nii.gz`` costs a read from its start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from seg_batch.core.errors import InputError
from seg_batch.core.run_files import staged_name
from seg_batch.core.units import show_bytes
from seg_batch.io.sources.formats.nifti_header import NiftiLayout, read_layout
from seg_batch.io.sources.formats.volumes.plain_copy import plain_copy
from seg_batch.io.sources.gzip_members import GZIP_ERRORS, GzipData, ends_plainly
from seg_batch.io.sources.identity import file_identity

_READ_BYTES = 256 << 10
_SLACK_BYTES = 16 << 20  # some writers pad; more than this after the voxels is not padding


def stage(path: Path, folder: Path) -> Path:
    """The uncompressed copy of a ``.nii.gz`` in ``folder``, made now unless it is there whole.

    Memory stays at a few MiB. The file gets its name only when complete, and the name is
    a digest of the original, so that the copy of another file is not taken for it. A ``.nii`` is
    its own copy. ``InputError`` when the archive is cut short, damaged or larger than its header
    says; ``OutputError`` when the folder can't be written to or is full.
    """
    layout = read_layout(path)
    if not layout.compressed:
        return path
    identity = file_identity(layout.data)
    known = (path.name, identity["sha256_ends"], identity["mtime_ns"])
    target = folder / staged_name(known, ".nii")
    return plain_copy(path, target, layout.stop_bytes, _whole(layout))


def _whole(layout: NiftiLayout) -> Iterator[bytes]:
    with layout.data.open("rb") as archive:
        yield from _checked(layout, GzipData(archive, layout.stop_bytes))


def leading_bytes(path: Path, first: int, count: int) -> bytearray:
    """``count`` bytes of an archive's data from byte ``first`` on; one of ``GZIP_ERRORS`` where it is
    damaged before their end."""
    out, at = bytearray(), 0
    with path.open("rb") as file:
        for piece in GzipData(file, first + count, _READ_BYTES):
            out += piece[max(0, first - at) :]
            at += len(piece)
            if len(out) >= count:
                return out[:count]
    raise EOFError("it ends before its voxels do")


def bytes_after_end(layout: NiftiLayout) -> int:
    """How many bytes follow the gzip data of a volume; they are not read. The archive is read once where
    its last bytes are not those of the volume; ``InputError`` where it is damaged."""
    if not layout.compressed or ends_plainly(layout.data, layout.stop_bytes):
        return 0
    with layout.data.open("rb") as file:
        data = GzipData(file, layout.stop_bytes)
        for _ in _checked(layout, data):
            pass
    return data.after


def _checked(layout: NiftiLayout, data: GzipData) -> Iterator[bytes]:
    """The pieces of an archive; ``InputError`` where they are damaged, or not as long as the header says."""
    total = 0
    try:
        for piece in data:
            total += len(piece)
            if total > layout.stop_bytes + _SLACK_BYTES:
                raise InputError(
                    f"{layout.data}: goes on after the {show_bytes(layout.stop_bytes)} that its "
                    "header declares; it is damaged or made to fill the disk: don't use it"
                )
            yield piece
    except GZIP_ERRORS as error:
        raise InputError(
            f"{layout.data}: the gzip data is damaged ({error}); copy it again"
        ) from error
    if total < layout.stop_bytes:
        raise InputError(
            f"{layout.data}: holds {show_bytes(total)} of the {show_bytes(layout.stop_bytes)} that its "
            "header declares: the volume is cut short; copy it again from its origin"
        )
