"""The size of a raster's pixels on the ground."""

from __future__ import annotations

import math

import numpy as np
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.warp import transform

from seg_batch.core.geometry import Shape
from seg_batch.core.georef import RasterGeoref

_A, _E2 = 6378137.0, 0.00669437999014  # WGS84: semi-major axis in metres, eccentricity squared


def pixel_sides_m(georef: RasterGeoref, extent: Shape) -> tuple[float, float] | None:
    """Length of the pixel in the middle along ``y, x`` in metres, on the ellipsoid WGS84; None where the
    raster has no CRS, or where its middle has no place on the earth.

    With the radii of curvature ``M`` of the meridian and ``N`` of the prime vertical at latitude ``p``, a
    step of ``dp, dl`` radians is ``hypot(M dp, N cos(p) dl)`` long.
    """
    if georef.crs_wkt is None or georef.gcps or georef.rpcs:
        return None
    y, x = (n / 2 for n in extent)
    corners = georef.matrix @ np.array([(x, x, x + 1), (y, y + 1, y), (1, 1, 1)])
    try:
        crs = CRS.from_wkt(georef.crs_wkt)
        lon, lat = map(np.radians, transform(crs, "EPSG:4326", corners[0], corners[1]))
    except (RasterioError, CPLE_BaseError, ValueError):
        return None
    w2 = 1 - _E2 * math.sin(lat[0]) ** 2
    meridian, vertical = _A * (1 - _E2) / w2**1.5, _A / math.sqrt(w2)
    steps = [
        math.hypot(meridian * (p - lat[0]), vertical * math.cos(lat[0]) * _turn(east - lon[0]))
        for p, east in zip(lat[1:], lon[1:], strict=True)
    ]
    return (steps[0], steps[1]) if all(map(math.isfinite, steps)) and min(steps) > 0 else None


def _turn(angle: float) -> float:
    """The same angle between half a turn to the left and to the right."""
    return (angle + math.pi) % (2 * math.pi) - math.pi
