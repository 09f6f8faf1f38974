"""Putting a finished file in its place: written beside, flushed, then moved in one step."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seg_batch.errors import OutputError
from seg_batch.sinks.store import told


def require_writable(folder: Path) -> None:
    """Make the folder if need be; OutputError when nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"{folder} can't be written ({error.strerror or error}): choose another -o"
        ) from None


@contextmanager
def publishing(path: Path) -> Iterator[Path]:
    """The path to write to; what stands at ``path`` changes only if all goes well."""
    part = path.with_name(f"{path.name}.part")
    with told(path):
        try:
            yield part
            flush(part)
            os.replace(part, path)
            flush(path.parent)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def publish_folder(folder: Path, path: Path) -> None:
    """Move a finished folder into place; one that stood there is removed only afterwards."""
    with told(path):
        aside = path.with_name(f"{path.name}.old")
        if path.exists():
            shutil.rmtree(aside, ignore_errors=True)
            os.replace(path, aside)
        os.replace(folder, path)
        flush(path.parent)
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink(missing_ok=True)


def flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
