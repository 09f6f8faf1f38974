"""Do two images lie on one grid? What differs, in words."""

from __future__ import annotations

import re

from seg_batch.core.georef import Georef, RasterGeoref, VolumeGeoref, georef_differences
from seg_batch.io.sources.protocol import SourceInfo

# Headers of volumes keep float32; a raster's transform is exact, and 1e-9 of a UTM northing 5 mm.
TOLERANCE = {"raster": 1e-9, "volume": 1e-5}


def grid_differences(a: SourceInfo, b: SourceInfo) -> list[str]:
    """What differs in extent, orientation and where the voxels lie, one phrase each; empty when
    both lie on one grid. How a header says so (codes, tie points) does not count."""
    found = [] if a.extent == b.extent else [f"extent {a.extent} against {b.extent}"]
    letters = [orientation(info.georef) for info in (a, b)]
    if all(letters) and letters[0] != letters[1]:
        found.append(f"orientation {letters[0]} against {letters[1]}")
    return found + _unlike(a.georef, b.georef)


def orientation(georef: Georef) -> str:
    """Where the axes of a volume run to (``RAS``); empty for a raster."""
    if not isinstance(georef, VolumeGeoref):
        return ""
    from nibabel.orientations import aff2axcodes

    return "".join(letter or "?" for letter in aff2axcodes(georef.matrix))


def _unlike(a: Georef, b: Georef) -> list[str]:
    phrases = georef_differences(a, b, TOLERANCE[a.kind])
    raster = isinstance(a, RasterGeoref)
    telling = ("kind", "crs_wkt", "transform") if raster else ("kind", "affine")
    found = [phrase for phrase in phrases if phrase.partition(":")[0] in telling]
    return [_crs_names(a, b) if phrase.startswith("crs_wkt") else phrase for phrase in found]


def _crs_names(a: Georef, b: Georef) -> str:
    """Coordinate systems by name: their text fills a page."""
    names = [_name(getattr(georef, "crs_wkt", None)) for georef in (a, b)]
    return f"crs: {names[0]} against {names[1]}"


def _name(wkt: str | None) -> str:
    match = re.search(r'"([^"]+)"', wkt or "")
    return match.group(1) if match else "none"
