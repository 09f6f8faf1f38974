"""The size of a raster's pixels on the ground."""

from __future__ import annotations

import numpy as np

from seg_batch.core.geometry import Shape
from seg_batch.core.georef import RasterGeoref
from seg_batch.io.sources.areas.ellipsoid import ellipsoid_of


def pixel_sides_m(georef: RasterGeoref, extent: Shape) -> tuple[float, float] | None:
    """Length of the pixel in the middle along ``y, x`` in metres, on the ellipsoid of its CRS; None where the
    raster has no CRS, or where its middle has no place on the earth."""
    if georef.crs_wkt is None or georef.gcps or georef.rpcs:
        return None
    body = ellipsoid_of(georef.crs_wkt)
    if body is None:
        return None
    y, x = (n / 2 for n in extent)
    across, up, _ = georef.matrix @ np.array([(x, x, x + 1), (y, y + 1, y), (1, 1, 1)])
    points = body.in_space(across, up)
    sides = np.linalg.norm(points[1:] - points[0], axis=-1)
    return (
        (float(sides[0]), float(sides[1])) if np.isfinite(sides).all() and sides.min() > 0 else None
    )
