"""What of DICOM files that arrive one by one is known before their series is whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import pydicom

from seg_batch.io.dicom.first_bytes import HEAD_BYTES, begins_dicom
from seg_batch.io.dicom.header import NotAnImageError, read_header
from seg_batch.io.dicom.series import Series
from seg_batch.io.dicom.tree import Member, tree_at

_KNOWN = 1 << 18  # files of a hot folder that are remembered
_TELLS = "NumberOfSeriesRelatedInstances"


def folder_of_series(uid: str) -> str:
    """The name of a folder for the files of a series: of its UID, which may hold anything, a hash."""
    return f"series-{hashlib.sha256(uid.encode('utf-8', 'surrogateescape')).hexdigest()[:24]}"


def loose_series(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Of those names in a folder that are slices the UID of their series."""
    found = {}
    for name in names:
        path = folder / name
        try:
            info = path.stat()
            if path.is_file() and (uid := _series_uid(path, info.st_size, info.st_mtime_ns)):
                found[name] = uid
        except OSError:
            continue
    return found


@lru_cache(maxsize=_KNOWN)
def _series_uid(path: Path, size: int, mtime_ns: int) -> str:
    """Empty for a file that is no slice."""
    with path.open("rb") as file:
        if not begins_dicom(file.read(HEAD_BYTES)):
            return ""
        file.seek(0)
        try:
            facts, _ = read_header(file, Member(path.name, size, mtime_ns))
        except NotAnImageError:
            return ""
    return facts.uid


def told_instances(path: Path, series: Series) -> int:
    """The number of instances that a series has as its first header tells; 0 where it does not."""
    try:
        with tree_at(path).open(series.slices[0].file) as file:
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=[_TELLS])
        return int(header.get(_TELLS) or 0)
    except Exception:  # whatever a damaged file makes of the parser
        return 0
