"""Longitudes that run from 0 to 360."""

from __future__ import annotations

from seg_batch.core.geometry import Shape
from seg_batch.core.georef import Georef, RasterGeoref


def beyond_180(georef: Georef, extent: Shape) -> str | None:
    """A line where the longitudes of a raster in degrees run beyond 180; half a pixel on a grid of the whole earth is none."""
    if not isinstance(georef, RasterGeoref) or georef.crs_wkt is None or georef.metres_per_unit:
        return None
    a, b, c, *_ = georef.transform
    last = c + a * extent[1]
    if b or max(c, last) <= 180 + abs(a):
        return None
    return f"its longitudes run to {max(c, last):.6g}, and so do those of the product: maps that end at 180 lie beside it"
