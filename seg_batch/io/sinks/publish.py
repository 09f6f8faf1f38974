"""Atomic replace of a finished product: written beside, flushed, then moved into place in one step.

Intermediate files lie in the folder ``<name>.part``. It is locked, so that two runs can't mix there,
and it is removed whole, after a crash by the next run. Side files that the writer left beside the
product there are moved into place with it; those of an earlier output go with that.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from seg_batch.core.errors import BusyError, OutputError
from seg_batch.core.files import (
    file_lock,
    flush,
    held_folder,
    is_still_at,
    require_local_output,
    translate_os_errors,
)
from seg_batch.core.run_files import NAME_BYTES, PART, path_beside
from seg_batch.io.sinks.product_sides import left_side_files

_ASIDE = "earlier"
_SIDES, _ALL_SIDES = "side-files.moving", "side-files"  # of the earlier result; once all are there


def require_writable(folder: Path) -> None:
    """Make the folder if it is missing; OutputError when nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"{folder} can't be written ({error.strerror or error}): choose another output"
        ) from error


def require_short_name(path: Path) -> None:
    """OutputError for a path that no file system holds."""
    try:
        path.lstat()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise OutputError(
                f"{path.name[:40]}... is too long a name (more than {NAME_BYTES} bytes in one of "
                "its parts): shorten it"
            ) from error


@contextmanager
def atomic_replace(path: Path) -> Iterator[Path]:
    """The path to write to, a file or a folder; what exists at ``path`` changes only on success.
    OutputError when the disk refuses, or another process is publishing the same."""
    folder = path_beside(path, PART)
    with translate_os_errors(path):
        folder.mkdir(exist_ok=True)
        with held_folder(folder, _busy(path)):
            try:
                _sweep(folder, path)
                part = folder / path.name
                yield part
                flush_all(part)
                _replace(part, path)
            finally:
                shutil.rmtree(folder, ignore_errors=True)


def restore_and_clean(path: Path) -> None:
    """Remove what a killed process left beside ``path``, and restore the earlier result that it had
    moved; does nothing while another run is writing. OutputError when the disk refuses."""
    folder = path_beside(path, PART)
    if not folder.is_dir():
        return
    with translate_os_errors(path), suppress(BusyError), file_lock(folder, _busy(path)) as handle:
        if is_still_at(folder, handle):
            _sweep(folder, path)
            shutil.rmtree(folder, ignore_errors=True)
        elif folder.is_file():  # the folder was just removed, so that the lock created a file
            folder.unlink(missing_ok=True)


def _busy(path: Path) -> BusyError:
    return BusyError(f"another segbatch run is writing {path}: wait for it, or use another output")


def _sweep(folder: Path, path: Path) -> None:
    """Remove what a killed run left; restore the earlier result if the run died between its moves."""
    _restore(folder, path)
    for left in folder.iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()


def flush_all(path: Path) -> None:
    """fsync a file, or every file and folder of a tree."""
    if path.is_dir():
        for folder, _, names in os.walk(path):
            for name in names:
                flush(Path(folder, name))
            flush(Path(folder))
    else:
        flush(path)


def _replace(part: Path, path: Path) -> None:
    """A file replaces a file in one step. A folder, and a file with side files now or before, does so
    once the earlier result is aside: at no time is a file there with the side files of another."""
    sides, earlier = left_side_files(part), [] if part.is_dir() else left_side_files(path)
    try:
        if path.exists() and (sides or earlier or part.is_dir() or path.is_dir()):
            os.replace(path, part.parent / _ASIDE)
        if earlier or sides:
            _move_aside(earlier, part.parent)
        for side in sides:
            flush(side)
            os.replace(side, path.with_name(side.name))
        os.replace(part, path)
    except BaseException:  # an interrupt, too: the folder is removed next
        _restore(part.parent, path)
        raise
    flush(path.parent)


def _move_aside(sides: list[Path], folder: Path) -> None:
    (folder / _SIDES).mkdir(exist_ok=True)
    for side in sides:
        os.replace(side, folder / _SIDES / side.name)
    os.rename(folder / _SIDES, folder / _ALL_SIDES)


def _restore(folder: Path, path: Path) -> None:
    if not (folder / _ASIDE).exists() or path.exists():
        return
    if (folder / _ALL_SIDES).exists():  # so those in place are the next result's
        for side in left_side_files(path):
            side.unlink(missing_ok=True)
        os.rename(folder / _ALL_SIDES, folder / _SIDES)
    if (folder / _SIDES).exists():
        for side in (folder / _SIDES).iterdir():
            os.replace(side, path.with_name(side.name))
    os.replace(folder / _ASIDE, path)


@contextmanager
def writing_folder(path: Path, overwrite: bool, mark: str) -> Iterator[Path]:
    """A folder to fill, published as ``path`` at the end; after an error nothing has changed.

    OutputError as in ``require_replaceable``.
    """
    require_replaceable(path, overwrite, mark)
    with atomic_replace(path) as part:
        part.mkdir()
        yield part


def require_replaceable(path: Path, overwrite: bool, mark: str) -> None:
    """OutputError when nothing can be written there, or when ``path`` exists, except with ``overwrite``
    where the file ``mark`` in it shows that it is a result of the same kind."""
    require_local_output(path)
    require_short_name(path)
    if path.exists() and not (overwrite and (path / mark).is_file()):
        advice = "" if overwrite else ", or replace an earlier result with --overwrite"
        raise OutputError(f"{path} exists: give another output{advice}")
    require_writable(path.parent)
