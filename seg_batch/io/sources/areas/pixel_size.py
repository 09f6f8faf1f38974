"""The size of a raster's pixels on the ground."""

from __future__ import annotations

import numpy as np

from seg_batch.core.geometry import Shape
from seg_batch.core.georef import RasterGeoref
from seg_batch.io.sources.areas.ellipsoid import ellipsoid_of

Sides = tuple[float, float]


def pixel_sides_m(
    georef: RasterGeoref, extent: Shape, at: tuple[float, float] = (0.5, 0.5)
) -> Sides | None:
    """Length of a pixel along ``y, x`` in metres, on the ellipsoid of its CRS; None where the raster has no CRS, or where
    the pixel has no place on the earth. ``at``: its place, as shares of the extent."""
    if georef.crs_wkt is None or georef.gcps or georef.rpcs:
        return None
    body = ellipsoid_of(georef.crs_wkt)
    if body is None:
        return None
    y, x = (n * share for n, share in zip(extent, at, strict=True))
    across, up, _ = georef.matrix @ np.array([(x, x, x + 1), (y, y + 1, y), (1, 1, 1)])
    points = body.in_space(across, up)
    sides = np.linalg.norm(points[1:] - points[0], axis=-1)
    return (
        (float(sides[0]), float(sides[1])) if np.isfinite(sides).all() and sides.min() > 0 else None
    )


def size_change(georef: RasterGeoref, extent: Shape) -> float:
    """The largest factor by which the pixels of a scene are longer or shorter than that in its middle, at its corners
    and the middles of its borders; 1 where that is not known."""
    middle = pixel_sides_m(georef, extent)
    shares = (0.0, 0.5, 1.0)
    others = (pixel_sides_m(georef, extent, (y, x)) for y in shares for x in shares)
    factors = [
        max(a / b, b / a)
        for sides in others
        if sides is not None and middle is not None
        for a, b in zip(sides, middle, strict=True)
    ]
    return max(factors, default=1.0)
