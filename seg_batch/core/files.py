"""Atomic replace of files, locks, and errors of the disk as messages with a remedy.

Also the files that hold a model's weights, and their hash; and which texts are no paths of this machine:
URLs, ``host:/path``, and the virtual paths of GDAL. As a path, ``s3://bucket/x.tif`` is a folder called
``s3:`` beside the user's other folders. A local file of such a name is named as ``./s3:/x.tif``.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seg_batch.core.errors import FULL, DiskFullError, InputError, OutputError
from seg_batch.core.run_files import PARTIAL, shortened

_FULL = "free some space and run the same command again"
_ADVICE = {
    errno.ENOSPC: f"the disk is full: {_FULL}",
    errno.EDQUOT: f"the disk quota is used up: {_FULL}",
    errno.EFBIG: "a file may not be this large here: choose another output",
    errno.EACCES: "it may not be written: choose another output",
    errno.EPERM: "it may not be written: choose another output",
    errno.EEXIST: "a file stands there: choose another output",
    errno.ENOTDIR: "a part of its path is a file: choose another output",
    errno.ENAMETOOLONG: "its name is too long: choose a shorter one",
    errno.EROFS: "the file system is read-only: choose another output",
}

# ``s3:/`` too: a path that was normalised. A scheme of one letter is a drive of Windows.
_URL = re.compile(r"\s*(?:[A-Za-z][A-Za-z0-9+.-]+:/|file:)", re.IGNORECASE)
_HOST = re.compile(r"\s*[^\s/@:]+@[^\s/@:]+:[/~]")  # as scp writes it
_VIRTUAL = re.compile(r"\s*/+vsi")


@contextmanager
def translate_os_errors(path: Path) -> Iterator[None]:
    """Raise an ``OSError`` as an ``OutputError`` of one line that says what to do; ``DiskFullError``
    where only space is missing."""
    try:
        yield
    except OSError as error:
        first = _first(error) if isinstance(error, shutil.Error) else error
        reason = first.strerror or str(first) or type(first).__name__
        advice = _ADVICE.get(first.errno or 0, "check the disk, then run the same command again")
        kind = DiskFullError if first.errno in FULL else OutputError
        raise kind(f"can't write {path} ({reason}); {advice}") from error


def _first(error: shutil.Error) -> OSError:
    """The error of the first file of a tree that was copied; ``shutil`` keeps only texts."""
    errors = error.args[0]
    text = str(errors[0][-1]) if isinstance(errors, list) and errors else str(error)
    number = re.match(r"\[Errno (\d+)\]", text)
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(text)


def require_free_space(folder: Path, size_bytes: int) -> None:
    """``OSError`` (no space) unless so much is free: for libraries that don't report a full disk."""
    if shutil.disk_usage(folder).free < size_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def flush(path: Path) -> None:
    """fsync a file, or a folder and with it the names in it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_json(path: Path) -> Any:
    """The value of a JSON file; None where it is missing or invalid."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def write_json(path: Path, value: Any, *, for_people: bool = False) -> None:
    """Atomic replace of a file by a value as JSON; ``for_people`` and other programs: indented, and ValueError for a NaN,
    which is not JSON."""
    if for_people:
        write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")
    else:
        write_text(path, json.dumps(value))


def write_text(path: Path, text: str) -> None:
    """Atomic replace of a file by text as UTF-8; undecodable bytes of file names survive."""
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def write_bytes(path: Path, content: bytes) -> None:
    """Atomic replace: write beside (``*.partial``), flush, move into place, flush the folder. Readers,
    and a restart after a power cut, see the old file or the new one, whole."""
    handle, name = tempfile.mkstemp(
        dir=path.parent, prefix=shortened(path.name, 24), suffix=PARTIAL
    )
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    flush(path.parent)


@contextmanager
def file_lock(path: Path, busy: Exception) -> Iterator[int]:
    """An exclusive lock on a file or folder, yielded as its descriptor; raises ``busy`` when another
    process (or another descriptor of this one) has it. A killed process releases it."""
    with translate_os_errors(path):
        handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise busy from None
        yield handle
    finally:
        os.close(handle)


def is_still_at(folder: Path, handle: int) -> bool:
    """Whether the locked ``handle`` is still the folder at this path: the run that had the lock before
    may have removed it, and another run created a new one."""
    return folder.is_dir() and os.fstat(handle).st_ino == folder.stat().st_ino


@contextmanager
def held_folder(folder: Path, busy: Exception) -> Iterator[None]:
    """An exclusive lock on a folder, which is created if missing; raises ``busy`` as ``file_lock`` does."""
    with translate_os_errors(folder):
        folder.mkdir(exist_ok=True)
    with file_lock(folder, busy) as handle:
        if not is_still_at(folder, handle):
            raise busy
        yield


def files_in(path: Path) -> Iterator[Path]:
    """A file, or all files of a folder in a fixed order, without partial ones."""
    if path.is_file():
        yield path
    for folder, names, files in os.walk(path):
        names.sort()
        for name in sorted(files):
            if not name.endswith(PARTIAL):
                yield Path(folder, name)


def remove(path: Path, *, ignore_errors: bool = True) -> None:
    """Remove a file, a link or a folder tree; ``ignore_errors``: those within a tree."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=ignore_errors)
    else:
        path.unlink(missing_ok=True)


def file_parts(path: Path) -> list[Path]:
    """The files of a model: ``path``; of an OpenVINO model ``model.xml`` and then ``model.bin``."""
    return [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]


def sha256(path: Path) -> str:
    """Hash of all ``parts`` of a model, one after the other."""
    return hash_of(*file_parts(path))


def hash_of(*paths: Path) -> str:
    """SHA-256 of these files alone, one after the other; hex."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


def kind_of_address(path: str | os.PathLike[str]) -> str | None:
    """What the text is instead of a path of this machine: ``a URL``, for one; None for a path."""
    text = os.fsdecode(path)
    if split_part(text)[1]:
        return None
    if _VIRTUAL.match(text):
        return "a virtual path of GDAL"
    if _URL.match(text):
        return "a URL"
    return "an address on another machine" if _HOST.match(text) else None


def why_not_local(path: str | os.PathLike[str]) -> str | None:
    """Why the address can't be read or written, in one line that names it; None for a path of this machine."""
    kind = kind_of_address(path)
    return kind and (
        f"{_without_query(os.fsdecode(path))}: {kind}, and only plain paths of this machine are read and written: name one, "
        "and copy the file to it or from it"
    )


def _without_query(text: str) -> str:
    """An address as it may be told: what signs it, and a name and a password before its host, may be secrets."""
    return re.sub(r"://[^/?#]*@", "://", re.split(r"[?#]", text, maxsplit=1)[0])


def require_local_input(path: str | os.PathLike[str]) -> None:
    """InputError for an address that is no path of this machine."""
    if why := why_not_local(path):
        raise InputError(why)


def require_local_output(path: str | os.PathLike[str]) -> None:
    """OutputError for an address that is no path of this machine."""
    if why := why_not_local(path):
        raise OutputError(why)


def split_part(path: str | os.PathLike[str]) -> tuple[str, str]:
    """The file of an image, and which image in it: ``a.nc:t2m`` is ``t2m`` in ``a.nc``. The second is empty where the whole
    text is a path, or where no part before a colon is."""
    text = os.fsdecode(path)
    if ":" not in text or os.path.lexists(text):
        return text, ""
    ends = (at for at, letter in enumerate(text) if letter == ":" and at)
    end = next((at for at in ends if os.path.isfile(text[:at])), len(text))
    return text[:end], text[end + 1 :]


def file_of(path: str | os.PathLike[str]) -> Path:
    """The file, or the folder, of an image that may lie in it beside others."""
    return Path(split_part(path)[0])
