"""Areas of pixels are those that pyproj's Geod gives their outlines, and their sums depend on no blocks."""

from __future__ import annotations

import math

import numpy as np
import pyproj
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from seg_batch.core.geometry import Blocks, Box
from seg_batch.core.georef import RasterGeoref
from seg_batch.io.sources.areas.pixel_areas import PixelAreas
from seg_batch.io.sources.crs import crs_wkt, metres_per_unit

SIDES = 16  # points per side of a pixel's outline
# CRS, the middle of a raster, the longest side of a pixel and the most pixels, in its units.
PLACES = {
    "degrees": ("EPSG:4326", (-112.0, 37.5), 0.25, 280),
    "near the pole": ("EPSG:4326", (10.0, 88.0), 0.01, 250),
    "grads of Paris": ("EPSG:4807", (3.0, 50.0), 0.2, 280),
    "web Mercator": ("EPSG:3857", (1.5e6, 8.4e6), 4000.0, 400),
    "Mercator": ("EPSG:3395", (1e6, 6e6), 1000.0, 3000),
    "UTM": ("EPSG:32612", (3e5, 4.1e6), 60.0, 3000),
    "UTM beyond its zone": ("EPSG:32612", (-2e5, 4.1e6), 300.0, 1000),
    "feet": ("EPSG:2225", (6.5e6, 2.1e6), 300.0, 1000),
    "equal areas": ("EPSG:5070", (-1e6, 1.6e6), 1000.0, 1000),
    "polar": ("EPSG:3413", (1e5, -1e5), 10000.0, 300),
    "from a satellite": ("+proj=geos +h=35785831 +lon_0=0 +sweep=y", (1e6, 3e6), 3000.0, 300),
    "with a shift of the datum": ("EPSG:31467", (3.5e6, 5.5e6), 100.0, 1000),
    "the moon": ("+proj=eqc +R=1737400", (1e5, 1e6), 1000.0, 300),
}


@st.composite
def rasters(draw):
    """A CRS, its georeference and extent. Pixels are of a metre or more: outlines of less are beyond pyproj."""
    code, (x, y), most, pixels = PLACES[draw(st.sampled_from([*PLACES]))]
    crs = CRS.from_user_input(code)
    extent = tuple(draw(st.integers(1, pixels)) for _ in range(2))
    width, height = (most * 10 ** draw(st.floats(-1.5, 0)) for _ in range(2))
    width, height = max(width, most / pixels), max(height, most / pixels)
    turn = math.radians(draw(st.sampled_from([0.0, 0.0, 180.0, 31.0])))
    a, b = width * math.cos(turn), height * math.sin(turn)
    d, e = width * math.sin(turn), -height * math.cos(turn)
    c, f = x - (a * extent[1] + b * extent[0]) / 2, y - (d * extent[1] + e * extent[0]) / 2
    return code, RasterGeoref(crs_wkt(crs), (a, b, c, d, e, f), metres_per_unit(crs)), extent


def by_pyproj(code: str, georef: RasterGeoref, row: int, column: int) -> float:
    """Square metres of the outline of one pixel."""
    crs = pyproj.CRS.from_user_input(code)
    along, none = np.arange(SIDES) / SIDES, np.zeros(SIDES)
    px = column + np.concatenate([along, none + 1, 1 - along, none])
    py = row + np.concatenate([none, along, none + 1, 1 - along])
    a, b, c, d, e, f = georef.transform
    x, y = a * px + b * py + c, d * px + e * py + f
    if crs.is_projected:
        to = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
        x, y = to.transform(x, y)
    per_degree = math.pi / 180 / (crs.geodetic_crs or crs).axis_info[0].unit_conversion_factor
    area, _ = crs.get_geod().polygon_area_perimeter(x / per_degree, y / per_degree)
    return abs(area)


@given(rasters(), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
@settings(deadline=None, max_examples=150)
def test_a_pixel_has_the_area_that_pyproj_gives_it(case, down, right):
    code, georef, extent = case
    areas = PixelAreas.of(georef, extent)
    assert areas is not None
    row, column = int(down * extent[0]), int(right * extent[1])
    units = areas.of_pixels(Box((row, column), (row + 1, column + 1)))
    expected = by_pyproj(code, georef, row, column)
    assert areas.hectares(int(units[0, 0])) * 1e4 == pytest.approx(expected, rel=1e-3)


@given(rasters(), st.integers(0, 2**32), st.data())
@settings(deadline=None, max_examples=60)
def test_sums_are_the_same_for_any_blocks_in_any_order(case, seed, data):
    _, georef, extent = case
    areas = PixelAreas.of(georef, extent)
    assert areas is not None
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, extent).astype(np.uint8)
    shape = tuple(data.draw(st.integers(max(1, n // 5), n)) for n in extent)
    totals: dict[int, int] = {}
    for block in rng.permutation(np.array([*Blocks(extent, shape)], object)):
        areas.add(totals, labels[block.box.slices()], block.box)
    pixels = areas.of_pixels(Box.whole(extent))
    assert totals == {int(k): int(pixels[labels == k].sum()) for k in np.unique(labels)}
    inner = PixelAreas.of(georef, extent, tuple(n // 2 for n in extent))
    assert inner is not None
    rest = tuple(n - n // 2 for n in extent)
    half = pixels[tuple(slice(n // 2, None) for n in extent)]
    assert np.array_equal(inner.of_pixels(Box.whole(rest)), half)


def test_the_whole_earth_has_its_area():
    wgs = CRS.from_epsg(4326)
    georef = RasterGeoref(crs_wkt(wgs), (0.5, 0, -180, 0, -0.5, 90))
    areas, totals = PixelAreas.of(georef, (360, 720)), {}
    assert areas is not None
    areas.add(totals, np.zeros((360, 720), np.uint8), Box.whole((360, 720)))
    assert areas.hectares(totals[0]) == pytest.approx(510_065_621_724_088.4 / 1e4, rel=1e-9)


def test_where_the_plane_is_true_its_round_numbers_stay():
    utm = CRS.from_epsg(32612)
    georef = RasterGeoref(crs_wkt(utm), (30, 0, 301905, 0, -30, 4154085), 1.0)
    areas = PixelAreas.of(georef, (1428, 564))
    assert areas is not None
    assert areas.hectares(int(areas.of_pixels(Box((7, 8), (8, 9)))[0, 0])) == 0.09
    assert (areas.units(0.9), areas.units(0.91), areas.units(0.3)) == (10, 11, 4)


@pytest.mark.parametrize(
    "georef",
    [
        RasterGeoref(None, (10, 0, 5e5, 0, -10, 6e6)),
        RasterGeoref(crs_wkt(CRS.from_epsg(4326))),
        RasterGeoref(crs_wkt(CRS.from_epsg(4326)), (10, 0, 5e5, 0, -10, 6e6)),
        RasterGeoref(crs_wkt(CRS.from_epsg(32612)), (10, 0, 5e5, 0, 0, 6e6), 1.0),
        RasterGeoref('LOCAL_CS["site",UNIT["metre",1]]', (10, 0, 0, 0, -10, 6)),
    ],
    ids=["no CRS", "no transform", "metres called degrees", "singular", "a building site"],
)
def test_what_has_no_place_has_no_areas(georef):
    assert PixelAreas.of(georef, (4, 5)) is None
