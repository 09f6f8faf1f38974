"""The uncompressed copy of a volume on disk, which gets its name only when it is whole."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from seg_batch.core.errors import FULL, DiskFullError, OutputError
from seg_batch.core.run_files import PART
from seg_batch.core.units import show_bytes


def plain_copy(path: Path, target: Path, size: int, pieces: Iterable[bytes]) -> Path:
    """``target`` with the first ``size`` bytes of ``pieces``, made now unless it is there whole. ``path``: the
    original, for messages. ``OutputError`` when the folder can't be written to or is full."""
    if target.is_file() and target.stat().st_size == size:
        return target
    folder = target.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < size:
            raise DiskFullError(
                f"{folder}: {path.name} takes {show_bytes(size)} uncompressed, and only "
                f"{show_bytes(free)} are free there; make room"
            )
        _write(target, size, pieces)
    except OSError as error:
        kind = DiskFullError if error.errno in FULL else OutputError
        raise kind(
            f"{folder}: the uncompressed copy of {path.name} can't be written "
            f"({error.strerror or error}); free {show_bytes(size)} there"
        ) from error
    return target


def _write(target: Path, left: int, pieces: Iterable[bytes]) -> None:
    """Through a file with a name of its own, so that several processes may stage at once."""
    handle, name = tempfile.mkstemp(prefix=target.name + ".", suffix=PART, dir=target.parent)
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            for piece in pieces:
                file.write(piece[:left])
                left = max(0, left - len(piece))
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
