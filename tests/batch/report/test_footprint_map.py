"""The map of a run: outlines where they lie, in the proportions of the ground."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS

from seg_batch.batch.report.footprint_map import footprint_map
from seg_batch.core.georef import RasterGeoref, VolumeGeoref
from seg_batch.io.sources import open_source
from seg_batch.io.sources.areas.footprint import footprint
from seg_batch.io.sources.crs import crs_wkt, metres_per_unit
from tests.support.files import address_raster, write_raster


def row(name: str, points: Any, status: str = "complete") -> Any:
    return {"input": name, "status": status, "footprint": points}


def square(lon: float, lat: float, side: float) -> list[tuple[float, float]]:
    return [(lon, lat), (lon + side, lat), (lon + side, lat + side), (lon, lat + side)]


@pytest.mark.parametrize("code", ["EPSG:32612", "EPSG:3857", "EPSG:4326", "EPSG:5070"])
def test_an_outline_is_where_pyproj_puts_it(code: str) -> None:
    crs = CRS.from_string(code)
    side = 0.01 if code == "EPSG:4326" else 500.0
    x, y = pyproj.Transformer.from_crs(4326, code, always_xy=True).transform(-112.0, 37.0)
    georef = RasterGeoref(
        crs_wkt(crs), (side, side / 9, x, side / 7, -side, y), metres_per_unit(crs)
    )
    found = footprint(georef, (30, 40))
    assert found is not None
    back = pyproj.Transformer.from_crs(code, 4326, always_xy=True)
    for (row_, column), at in zip([(0, 0), (0, 40), (30, 40), (30, 0)], found[::4], strict=True):
        a, b, c, d, e, f = georef.transform
        expected = back.transform(a * column + b * row_ + c, d * column + e * row_ + f)
        assert at == pytest.approx(expected, abs=2e-6)


def test_what_has_no_place_has_no_outline() -> None:
    assert footprint(RasterGeoref(), (4, 5)) is None
    assert footprint(VolumeGeoref(tuple(map(tuple, np.eye(4).tolist()))), (4, 5, 6)) is None
    degrees = crs_wkt(CRS.from_epsg(4326))
    assert footprint(RasterGeoref(degrees, (10, 0, 5e5, 0, -10, 6e6)), (4, 5)) is None


def test_control_points_next_to_corners_place_an_outline(tmp_path: Path) -> None:
    points = [GroundControlPoint(r, c, 10.0 + c, 50.0 - r) for r in (0, 4) for c in (0, 2, 5)]
    values = address_raster((4, 5), 1, "uint8")
    path = write_raster(tmp_path / "a.tif", values, gcps=points, transform=None, crs="EPSG:4326")
    found = footprint(open_source(path).info.georef, (4, 5))
    assert found == [(10, 50), (15, 50), (15, 46), (10, 46)]


def test_longitudes_follow_one_another_across_the_date_line() -> None:
    crs = CRS.from_epsg(32601)
    found = footprint(RasterGeoref(crs_wkt(crs), (1000, 0, 2e5, 0, -1000, 1e5), 1.0), (90, 200))
    assert found is not None
    longitudes = [lon for lon, _ in found]
    assert max(longitudes) - min(longitudes) < 5


def test_the_drawing_has_the_proportions_of_the_ground() -> None:
    drawn = footprint_map([row("a", square(10, 60, 1)), row("b", None), row("c", square(13, 61, 0.001), "failed")])  # fmt: skip
    assert drawn is not None
    large, dot = drawn["outlines"]
    assert (large.input, dot.input, dot.points, dot.status) == ("a", "c", "", "failed")
    assert drawn["statuses"] == ["failed", "complete"]
    points = np.array([pair.split(",") for pair in large.points.split()], float)
    width, height = np.ptp(points, 0)
    assert width / height == pytest.approx(math.cos(math.radians(60.5)), rel=0.01)
    assert (points >= 0).all()
    assert (points <= (drawn["width"], drawn["height"])).all()
    assert points[0, 1] > points[2, 1], "north is up"
    labels = [label for _, label in drawn["meridians"]]
    assert all(label.endswith("°E") for label in labels)
    assert 2 <= len(labels) <= 8
    assert footprint_map([row("b", None)]) is None


@pytest.mark.parametrize("side", [1e-6, 1e-3, 1.0, 170.0])
def test_every_size_has_a_graticule_and_a_scale(side: float) -> None:
    drawn = footprint_map([row("a", square(-side / 2, -side / 2, side))])
    assert drawn is not None
    assert drawn["meridians"]
    assert drawn["parallels"]
    length, label = drawn["bar"]
    assert 50 <= length <= 201
    assert label.endswith("m")
