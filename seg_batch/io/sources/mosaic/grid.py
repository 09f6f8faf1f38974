"""The place of a raster on the grid of another, in pixels of that."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.core.georef import RasterGeoref, crs_name
from seg_batch.io.sources.crs import same_crs
from seg_batch.io.sources.protocol import SourceInfo

OFF_GRID = 1e-3  # of a pixel: what lies further from a grid is not on it
_ROTATED = 1e-6  # of a pixel, over one pixel


@dataclass(frozen=True)
class Placed:
    """``box``: on the grid, whole pixels; ``fault``: why the raster does not lie on it, empty where it does."""

    box: Box
    fault: str = ""


def require_placed(info: SourceInfo) -> RasterGeoref:
    """The georeference of a piece. ``InputError`` unless it says where each pixel lies."""
    georef = info.georef
    if not isinstance(georef, RasterGeoref) or info.kind != "raster":
        raise InputError(
            f"{info.path} is a {info.kind}, and a mosaic is made of rasters: leave it out"
        )
    if georef.gcps or (georef.rpcs and georef.transform == RasterGeoref().transform):
        raise InputError(
            f"{info.path} lies where control points or RPCs say, on no grid, so it can't be a piece of a mosaic: warp it first "
            "(gdalwarp)"
        )
    if georef.crs_wkt is None and georef.transform == RasterGeoref().transform:
        raise InputError(
            f"{info.path} has no georeference, so its place in a mosaic is not known: give it one"
        )
    return georef


def placed(info: SourceInfo, first: SourceInfo) -> Placed:
    """Where a raster lies on the grid of ``first``, or why it does not."""
    here, there = require_placed(info), require_placed(first)
    if here.crs_wkt != there.crs_wkt and not same_crs(here.crs_wkt, there.crs_wkt):
        names = crs_name(here.crs_wkt), crs_name(there.crs_wkt)
        return Placed(Box((0, 0), (0, 0)), f"its CRS is {names[0]} against {names[1]}")
    height, width = info.extent
    try:
        step = np.linalg.solve(there.matrix, here.matrix)
    except np.linalg.LinAlgError:
        return Placed(Box((0, 0), (0, 0)), "its pixels have no size")
    ends = step @ np.array([(0.0, 0.0, 1.0), (width, height, 1.0)]).T
    (left, right), (top, bottom) = ends[:2]
    if not np.isfinite(ends).all() or max(map(abs, (left, right, top, bottom))) > 2**53:
        return Placed(Box((0, 0), (0, 0)), "its place is none on the earth")
    start = round(float(top)), round(float(left))
    box = Box(start, (start[0] + height, start[1] + width))
    apart = float(
        np.abs(ends[:2] - [(start[1], start[1] + width), (start[0], start[0] + height)]).max()
    )
    return Placed(box, _fault(step, here, there, apart))


def _fault(step: np.ndarray, here: RasterGeoref, there: RasterGeoref, apart: float) -> str:
    turned = step[:2, :2] - np.eye(2)
    if max(abs(turned[0, 1]), abs(turned[1, 0])) > _ROTATED:
        return "it is rotated against it"
    if step[0, 0] < 0 or step[1, 1] < 0:
        return "its rows or columns run the other way"
    if apart <= OFF_GRID:
        return ""
    sizes = [" x ".join(f"{n:.9g}" for n in georef.spacing[::-1]) for georef in (here, there)]
    if sizes[0] != sizes[1]:
        return f"its pixels are {sizes[0]} against {sizes[1]}"
    return f"it lies {apart:.3g} pixels off its grid, at most {OFF_GRID:g} is none"
