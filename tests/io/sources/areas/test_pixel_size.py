"""The size of pixels on the ground, against geodesics of pyproj."""

from __future__ import annotations

import numpy as np
import pytest
from pyproj import CRS, Geod, Transformer

from seg_batch.core.georef import RasterGeoref
from seg_batch.io.sources.areas.pixel_size import pixel_sides_m


@pytest.mark.parametrize(
    ("code", "transform"),
    [
        (32612, (30, 0, 301905, 0, -30, 4154085)),
        (4326, (2e-4, 0, -113.2, 0, -3e-4, 37.5)),
        (4326, (0.01, 0, 179.999, 0, -0.01, -64)),  # across the antimeridian
        (3857, (38, 0, -12601000, 0, -38, 4500000)),
        (2056, (10, 2, 2600000, 2, -10, 1200000)),  # turned
        (2263, (100, 0, 980000, 0, -100, 200000)),  # feet
        (3413, (500, 0, -1000000, 0, -500, -1000000)),
    ],
)
def test_sides_are_those_of_geodesics(code: int, transform: tuple[float, ...]) -> None:
    crs, (a, b, c, d, e, f) = CRS.from_epsg(code), transform
    georef = RasterGeoref(crs.to_wkt(), transform)  # type: ignore[arg-type]
    x, y = np.array([150, 150, 151]), np.array([100, 101, 100])
    to_geographic = Transformer.from_crs(crs, 4326, always_xy=True)
    lon, lat = to_geographic.transform(a * x + b * y + c, d * x + e * y + f)
    _, _, expected = Geod(ellps="WGS84").inv(lon[[0, 0]], lat[[0, 0]], lon[1:], lat[1:])
    assert pixel_sides_m(georef, (200, 300)) == pytest.approx(expected, rel=1e-3)


def test_a_raster_without_a_place_has_no_size() -> None:
    assert pixel_sides_m(RasterGeoref(), (10, 10)) is None
    far = RasterGeoref(CRS.from_epsg(32612).to_wkt(), (30, 0, 1e12, 0, -30, 1e12))
    assert pixel_sides_m(far, (10, 10)) is None
