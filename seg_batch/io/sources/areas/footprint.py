"""The outline of a raster in longitude and latitude."""

from __future__ import annotations

import numpy as np
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError
from rasterio.warp import transform

from seg_batch.core.geometry import Shape
from seg_batch.core.georef import Georef, RasterGeoref

_EDGE = 4  # points per side: sides bend
_DIGITS = 6  # of degrees: a decimetre


def footprint(georef: Georef, extent: Shape) -> list[tuple[float, float]] | None:
    """``(longitude, latitude)`` in degrees of WGS 84 along the outline; longitudes follow one another across
    180. None where the raster has no place there. Of one that control points place: those next to its corners.
    """
    if not isinstance(georef, RasterGeoref):
        return None
    wkt, points = _outline(georef, extent)
    if wkt is None or points is None:
        return None
    try:
        placed = transform(CRS.from_wkt(wkt), CRS.from_string("OGC:CRS84"), *points.T)
    except (RasterioError, CRSError, CPLE_BaseError):
        return None
    lon, lat = np.array(placed[:2], np.float64)
    if not np.isfinite([lon, lat]).all() or np.abs(lat).max() > 90 or np.abs(lon).max() > 720:
        return None
    lon = np.unwrap(lon, period=360)
    return [
        (round(float(x), _DIGITS), round(float(y), _DIGITS)) for x, y in zip(lon, lat, strict=True)
    ]


def _outline(georef: RasterGeoref, extent: Shape) -> tuple[str | None, np.ndarray | None]:
    """The CRS, and points ``(n, 2)`` in it."""
    corners = np.array([[0, 0], [0, extent[1]], [extent[0], extent[1]], [extent[0], 0]], float)
    if georef.gcps:
        points = np.array(georef.gcps)
        nearest = [np.square(points[:, :2] - corner).sum(1).argmin() for corner in corners]
        return georef.gcps_crs_wkt, points[nearest][:, 2:4]
    if georef.transform == RasterGeoref().transform:
        return None, None
    steps = np.arange(_EDGE)[:, None] / _EDGE
    sides = [a + steps * (b - a) for a, b in zip(corners, np.roll(corners, -1, 0), strict=True)]
    rows, columns = np.concatenate(sides).T
    a, b, c, d, e, f = georef.transform
    return georef.crs_wkt, np.stack([a * columns + b * rows + c, d * columns + e * rows + f], 1)
