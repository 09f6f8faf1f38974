"""A VRT whose sources are local files of formats that are read, in its folder or below."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from seg_batch.core.errors import InputError
from seg_batch.io.sources.detect import detect
from seg_batch.io.sources.formats.raster import Opening, RasterSource, described, opened
from seg_batch.io.sources.formats.vrt.content import Named, named_in
from seg_batch.io.sources.identity import raster_identity
from seg_batch.io.sources.protocol import AlphaOption

_DEPTH, _MOST_SOURCES = 4, 20_000
_BEGINNING_BYTES = 64  # all formats but VRT have a zero byte in them
_PREFIX = re.compile(r"[A-Za-z][A-Za-z0-9_+.-]*:")
_FORMATS = {"geotiff", "png", "jpeg", "jp2", "vrt"}


def open_vrt(path: Path, roots: Sequence[str] = (), alpha: AlphaOption = "auto") -> RasterSource:
    """Open a VRT after all its sources were checked, those of VRTs in it as well. ``roots``: folders in which sources may lie
    besides its own. ``InputError`` in one line."""
    sources = checked_sources(path, roots)
    opening = Opening(path, "vrt", "VRT")
    with opened(opening) as dataset:
        source = described(opening, dataset, alpha)
    known = {name: raster_identity(Path(name), ()) for name in sources}
    text = json.dumps(known, sort_keys=True)
    of_sources = {"count": len(known), "sha256": hashlib.sha256(text.encode()).hexdigest()}
    info = replace(
        source.info,
        identity={**source.info.identity, "sources": of_sources},
        facts={**source.info.facts, "sources": len(known)},
    )
    source.close()
    return RasterSource(opening, info, source.bands)


def checked_sources(path: Path, roots: Sequence[str] = ()) -> list[str]:
    """The paths of all sources, sorted; ``InputError`` for the first that may not be read."""
    found: set[str] = set()
    allowed = [os.path.realpath(path.absolute().parent), *map(os.path.realpath, roots)]
    _check(path, allowed, found, ())
    return sorted(found)


def _check(path: Path, allowed: list[str], found: set[str], around: tuple[str, ...]) -> None:
    """``around``: the VRTs that it is a source of, the outermost first."""
    if path.is_symlink():
        raise InputError(
            f"{path}: a VRT that is a link, so that its sources are sought elsewhere: give the file itself"
        )
    around = (*around, os.path.realpath(path))
    if len(around) > _DEPTH:
        raise InputError(
            f"{path}: VRTs in VRTs, more than {_DEPTH} deep: make a GeoTIFF of it with gdal_translate"
        )
    for each in named_in(path):
        source = _allowed(path, each, allowed)
        if os.path.realpath(source) in around:
            raise InputError(
                f"{path}: the VRT is a source of itself, by way of {each.text!r}: make it anew"
            )
        if source in found:
            continue
        found.add(source)
        if len(found) > _MOST_SOURCES:
            raise InputError(
                f"{path}: more than {_MOST_SOURCES} sources: give its files with --mosaic"
            )
        if (form := detect(source)) not in _FORMATS:
            raise InputError(
                f"{path}: its source {each.text!r} is of the format {form}, which is not read in a VRT: convert it"
            )
        if form != "vrt" and _is_text(source):
            raise InputError(
                f"{path}: its source {each.text!r} begins with text, which may mean another file to GDAL: convert it to GeoTIFF"
            )
        if form == "vrt":
            _check(Path(source), allowed, found, around)


def _is_text(source: str) -> bool:
    """Whether a file is text as far as drivers look: GDAL takes an image with the XML of a VRT in its first comment for a VRT."""
    with open(source, "rb") as file:
        return b"\0" not in file.read(_BEGINNING_BYTES)


def _allowed(path: Path, named: Named, allowed: list[str]) -> str:
    """The path of a source; ``InputError`` unless it is a regular file in an allowed folder."""
    text, shown = named.text, repr(named.text[:200])
    if not named.is_relative and not text.startswith("/"):
        raise InputError(
            f"{path}: its source {shown} is no file by its path from the VRT; write it so (relativeToVRT), as gdalbuildvrt does"
        )
    if named.is_relative and _PREFIX.match(text):
        raise InputError(
            f"{path}: its source {shown} begins like the name of a driver, so that GDAL may read another file: rename it"
        )
    where = os.path.join(path.absolute().parent, text) if named.is_relative else text
    if named.is_relative and text.startswith("/"):
        raise InputError(
            f"{path}: its source {shown} is called relative and is not; make it anew with gdalbuildvrt"
        )
    try:
        real = os.path.realpath(where, strict=True)
        regular = stat.S_ISREG(os.stat(real).st_mode)
    except (OSError, ValueError):
        raise InputError(
            f"{path}: its source {shown} is no file that is there: restore it, or make the VRT anew"
        ) from None
    if not regular or not any(real.startswith(f"{folder.rstrip('/')}/") for folder in allowed):
        raise InputError(
            f"{path}: its source {shown} is no file in the folder of the VRT or below, so it is not read in its name; move it "
            "there, or name its folder with --allow"
        )
    return where
