"""The identity of an input: a resumed run compares it, so that a changed file is noticed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg_batch.core.files import files_in
from seg_batch.io.sources.side_files import AUXILIARY, MASK, side_files

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_END_BYTES = 64 << 10
_FILES = 100_000
_WHOLE_BYTES = 4 << 20  # larger side files go by size, time and ends, as images do
# What viewers add to an ``.aux.xml``, and what says nothing of pixels, place or validity.
_STATISTICS = "STATISTICS_"
_IDLE_TAGS = ("Histograms", "CategoryNames", "GDALRasterAttributeTable")  # for the eye alone
_IDLE_KEYS = ("INTERLEAVE", "COMPRESSION", "SOURCE_COLOR_SPACE", "PyramidResamplingType")
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


def raster_identity(path: Path, listed: Iterable[str]) -> dict[str, Any]:
    """The same for a raster with its side files, by their endings, as far as they may change its
    pixels, place or validity. Without any, it is the ``file_identity``. ``listed``: the files that GDAL
    says it reads, which a world file is not among where the raster has its place inside."""
    read = {os.path.basename(name).lower() for name in listed}
    counted = (
        s for s in side_files(path) if s.counts and (not s.is_world or s.name.lower() in read)
    )
    sides = {side.ending: path.with_name(side.name) for side in counted}
    known = {end: known for end, side in sides.items() if (known := side_identity(side))}
    return {**file_identity(path), **({"side_files": known} if known else {})}


def changed_beside(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Which side files differ, in brackets, where nothing else of two identities does; else empty."""
    old, new = before.get("side_files", {}), after.get("side_files", {})
    ends = sorted(end for end in {*old, *new} if old.get(end) != new.get(end))
    same = {**before, "side_files": {}} == {**after, "side_files": {}}
    return f" ({', '.join(ends)} beside it)" if same and ends else ""


def side_identity(path: Path) -> str | dict[str, Any] | None:
    """sha256 of a side file; of an ``.aux.xml`` without what is for the eye, as the statistics that viewers add, None where
    it holds nothing else. The ``file_identity`` of masks and of large files."""
    try:
        if path.name.lower().endswith(MASK) or path.stat().st_size > _WHOLE_BYTES:
            return file_identity(path)
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except PermissionError:
        return "unreadable"
    if path.name.lower().endswith(AUXILIARY):
        content = _without_statistics(content)
    return hashlib.sha256(content).hexdigest() if content else None


def _without_statistics(content: bytes) -> bytes:
    """The XML in canonical form, empty where nothing is left; as it is where it can't be parsed."""
    from xml.etree import ElementTree

    try:
        root = ElementTree.fromstring(content)
        _strip(root)
        text = ElementTree.tostring(root, encoding="unicode")
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError):
        return content
    return ElementTree.canonicalize(text, strip_text=True).encode() if len(root) else b""


def _strip(element: Element) -> None:
    """Remove statistics, and names and colours of classes, and then what is empty."""
    for child in list(element):
        _strip(child)
        key = child.get("key", "")
        idle = child.tag in _IDLE_TAGS or key.startswith(_STATISTICS) or key in _IDLE_KEYS
        holds = child.tag not in ("Metadata", "PAMRasterBand", "MaskBand") or len(child)
        if idle or not holds:
            element.remove(child)


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
