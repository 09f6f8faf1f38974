"""The differences between the grids of two images, in words."""

from __future__ import annotations

import re

from seg_batch.core.georef import Georef, RasterGeoref, VolumeGeoref, georef_differences
from seg_batch.io.sources.protocol import SourceInfo

# Headers of volumes keep float32; a raster's transform is exact, and 1e-9 of a UTM northing 5 mm.
TOLERANCE = {"raster": 1e-9, "volume": 1e-5}


def grid_differences(a: SourceInfo, b: SourceInfo) -> list[str]:
    """Differences in extent, orientation and the places of voxels, one phrase each; empty when
    both lie on one grid. The encoding in a header (codes, tie points) does not count."""
    differences = [] if a.extent == b.extent else [f"extent {a.extent} against {b.extent}"]
    letters = [orientation(info.georef) for info in (a, b)]
    if all(letters) and letters[0] != letters[1]:
        differences.append(f"orientation {letters[0]} against {letters[1]}")
    raster = isinstance(a.georef, RasterGeoref)
    kept = ("kind", "crs_wkt", "transform") if raster else ("kind", "affine")
    for phrase in georef_differences(a.georef, b.georef, TOLERANCE[a.georef.kind]):
        name = phrase.partition(":")[0]
        if name == "crs_wkt" and raster:  # by name: the text of a coordinate system fills a page
            phrase = f"crs: {_crs_name(a.georef)} against {_crs_name(b.georef)}"
        differences += [phrase] if name in kept else []
    return differences


def orientation(georef: Georef) -> str:
    """The directions in which the axes of a volume run (``RAS``); empty for a raster."""
    if not isinstance(georef, VolumeGeoref):
        return ""
    from nibabel.orientations import aff2axcodes

    return "".join(letter or "?" for letter in aff2axcodes(georef.matrix))


def _crs_name(georef: Georef) -> str:
    match = re.search(r'"([^"]+)"', getattr(georef, "crs_wkt", None) or "")
    return match.group(1) if match else "none"
