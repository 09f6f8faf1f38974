"""The uncompressed copy of a volume: each slice of a ``.nii.gz`` costs a read from its start."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from seg_batch.core.errors import FULL, DiskFullError, InputError, OutputError
from seg_batch.core.run_files import PART, shortened
from seg_batch.core.units import show_bytes
from seg_batch.io.sources.formats.nifti_header import NiftiLayout, read_layout
from seg_batch.io.sources.gzip_members import GZIP_ERRORS, GzipData, ends_plainly
from seg_batch.io.sources.identity import file_identity

_PIECE_BYTES = 4 << 20
_READ_BYTES = 256 << 10
_NAME_BYTES = 64  # room behind the stem
_SLACK_BYTES = 16 << 20  # some writers pad; more than this after the voxels is not padding


def stage(path: Path, folder: Path) -> Path:
    """The uncompressed copy of a ``.nii.gz`` in ``folder``, made now unless it is there whole.

    Memory stays at a few MiB. The file gets its name only when complete, and the name contains
    a digest of the original, so that the copy of another file is not taken for it. A ``.nii`` is
    its own copy. ``InputError`` when the archive is cut short, damaged or larger than its header
    says; ``OutputError`` when the folder can't be written to or is full.
    """
    layout = read_layout(path)
    if not layout.compressed:
        return path
    identity, stem = file_identity(path), path.name.lower().removesuffix(".gz").removesuffix(".nii")
    target = (
        folder
        / f"{shortened(stem, _NAME_BYTES)}-{identity['sha256_ends'][:8]}-{identity['mtime_ns']:x}.nii"
    )
    if target.is_file() and target.stat().st_size == layout.stop_bytes:
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < layout.stop_bytes:
            raise DiskFullError(
                f"{folder}: {path.name} takes {show_bytes(layout.stop_bytes)} uncompressed, and only "
                f"{show_bytes(free)} are free there; make room"
            )
        _write(path, target, layout)
    except OSError as error:
        kind = DiskFullError if error.errno in FULL else OutputError
        raise kind(
            f"{folder}: the uncompressed copy of {path.name} can't be written "
            f"({error.strerror or error}); free {show_bytes(layout.stop_bytes)} there"
        ) from error
    return target


def _write(path: Path, target: Path, layout: NiftiLayout) -> None:
    """Through a file with a name of its own, so that several processes may stage at once."""
    handle, name = tempfile.mkstemp(prefix=target.name + ".", suffix=PART, dir=target.parent)
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file, path.open("rb") as archive:
            left = layout.stop_bytes
            for piece in _checked(path, layout, GzipData(archive, left)):
                file.write(piece[:left])
                left = max(0, left - len(piece))
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


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


def bytes_after_end(path: Path, layout: NiftiLayout) -> int:
    """How many bytes follow the gzip data of a volume; they are not read. The archive is read once where
    its last bytes are not those of the volume; ``InputError`` where it is damaged."""
    if not layout.compressed or ends_plainly(path, layout.stop_bytes):
        return 0
    with path.open("rb") as file:
        data = GzipData(file, layout.stop_bytes)
        for _ in _checked(path, layout, data):
            pass
    return data.after


def _checked(path: Path, layout: NiftiLayout, data: GzipData) -> Iterator[bytes]:
    """The pieces of an archive; ``InputError`` where they are damaged, or not as long as the header says."""
    total = 0
    try:
        for piece in data:
            total += len(piece)
            if total > layout.stop_bytes + _SLACK_BYTES:
                raise InputError(
                    f"{path}: goes on after the {show_bytes(layout.stop_bytes)} that its "
                    "header declares; it is damaged or made to fill the disk: don't use it"
                )
            yield piece
    except GZIP_ERRORS as error:
        raise InputError(f"{path}: the gzip data is damaged ({error}); copy it again") from error
    if total < layout.stop_bytes:
        raise InputError(
            f"{path}: holds {show_bytes(total)} of the {show_bytes(layout.stop_bytes)} that its "
            "header declares: the volume is cut short; copy it again from its origin"
        )
