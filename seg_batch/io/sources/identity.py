"""The identity of an input: a resumed run compares it, so that a changed file is noticed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from seg_batch.core.files import files_in

_END_BYTES = 64 << 10
_FILES = 100_000
ZARR_METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")


def file_identity(path: Path) -> dict[str, Any]:
    """Size, modification time, and sha256 of the first and last 64 KiB of a file.

    A digest of everything would read a terabyte before work begins. A change that keeps
    size, time and both ends is not noticed.
    """
    stat = path.stat()
    digest = hashlib.sha256()
    with path.open("rb") as file:
        digest.update(file.read(_END_BYTES))
        file.seek(max(0, stat.st_size - _END_BYTES))
        digest.update(file.read(_END_BYTES))
    return {
        "size": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,
        "sha256_ends": digest.hexdigest(),
    }


def tree_identity(folder: Path) -> dict[str, Any]:
    """The same for a Zarr folder: digest of its metadata, count, bytes and newest time of files.

    Looks at the first 100 000 files in sorted order (``complete`` says whether that was all).
    """
    digest = hashlib.sha256()
    count = size = newest = 0
    for path in files_in(folder):
        if count == _FILES:
            break
        stat = path.stat()
        count, size, newest = count + 1, size + stat.st_size, max(newest, stat.st_mtime_ns)
        if path.name in ZARR_METADATA:
            digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return {
        "files": count,
        "size": size,
        "mtime_ns": newest,
        "sha256_metadata": digest.hexdigest(),
        "complete": count < _FILES,
    }
