"""An area in pixels: by the centres of pixels, the same for any box; where it can't be placed, one line says why."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from seg_batch.config.image_options.scene import AreaOptions
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.core.georef import RasterGeoref, VolumeGeoref
from seg_batch.io.sources.protocol import SourceInfo
from seg_batch.io.vectors.area import Area
from seg_batch.io.vectors.area_reading import area_of

EXTENT = (1100, 1300)
UTM = CRS.from_epsg(32633).to_wkt()
DEGREES = CRS.from_epsg(4326).to_wkt()
MAP = RasterGeoref(UTM, (10.0, 0.0, 300_000.0, 0.0, -10.0, 5_900_000.0))
INFO = SourceInfo("scene.tif", "geotiff", "raster", EXTENT, ("a",), "uint8", MAP, (512, 512))


def ring(seed: int) -> shapely.Polygon:
    """A star without symmetry, with a hole, whose corners lie on no centre of a pixel."""
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.random(11)) * 2 * np.pi
    radii = 120 + 500 * rng.random(11)
    middle = rng.random(2) * EXTENT[::-1]
    outer = middle + np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, None]
    star = shapely.make_valid(shapely.Polygon(outer))
    return star.difference(shapely.Point(middle).buffer(97.3, 3))


@given(st.integers(0, 10_000), st.integers(0, 900), st.integers(0, 1000), st.integers(1, 700))
@settings(max_examples=15, deadline=None)
def test_a_mask_is_by_centres_and_the_same_for_any_box(
    seed: int, y: int, x: int, side: int
) -> None:
    geometry = ring(seed)
    area = Area.of(geometry, EXTENT)
    whole = area.mask(Box.whole(EXTENT))
    box = Box((y, x), (y + side, x + side)).intersection(Box.whole(EXTENT))
    here = whole[box.slices()]
    assert np.array_equal(area.mask(box), here)
    assert area.touches(box) == here.any()
    bounds = area.bounds(box)
    if bounds is None:
        assert not here.any()
    else:
        rows, columns = np.nonzero(here)
        assert bounds.start == (y + rows.min(), x + columns.min())
        assert bounds.stop == (y + rows.max() + 1, x + columns.max() + 1)
    some = np.random.default_rng(seed).integers(0, EXTENT, (400, 2))
    inside = shapely.contains_xy(geometry, some[:, 1] + 0.5, some[:, 0] + 0.5)
    near = shapely.distance(geometry.boundary, shapely.points(some[:, ::-1] + 0.5)) < 1e-6
    assert (whole[some[:, 0], some[:, 1]] == inside)[~near].all()


def write(path: Path, geometry: shapely.Geometry, epsg: int | None = 32633) -> str:
    crs = {"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{epsg}"}}
    feature = {"type": "Feature", "properties": {}, "geometry": json.loads(shapely.to_geojson(geometry))}  # fmt: skip
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": [feature]}))
    return str(path)


def on_map(geometry: shapely.Geometry) -> shapely.Geometry:
    return shapely.transform(geometry, lambda xy: xy * (10, -10) + (300_000, 5_900_000))


def test_a_file_lies_where_its_coordinates_say(tmp_path: Path) -> None:
    square = shapely.box(100.2, 200.2, 340.9, 260.1)
    area, told = area_of(AreaOptions(aoi=write(tmp_path / "a.geojson", on_map(square))), INFO)
    assert area is not None
    assert told == ()
    assert area.bounds(Box.whole(EXTENT)) == Box((200, 100), (260, 341))
    later = replace(INFO, georef=replace(MAP, transform=(10.0, 0.0, 300_050.0, 0.0, -10.0, 5_900_000.0)))  # fmt: skip
    moved, _ = area_of(AreaOptions(aoi=write(tmp_path / "a.geojson", on_map(square))), later)
    assert moved is not None
    assert moved.digest != area.digest


def test_a_ring_that_crosses_itself_is_made_valid_and_told(tmp_path: Path) -> None:
    bow = shapely.Polygon([(100, 100), (300, 300), (300, 100), (100, 300)])
    area, told = area_of(AreaOptions(aoi=write(tmp_path / "a.geojson", on_map(bow))), INFO)
    assert "crossed themselves" in told[0]
    assert area is not None
    assert area.mask(Box((120, 200), (121, 201))).sum() == 0
    assert area.mask(Box((200, 120), (201, 121))).sum() == 1


@pytest.mark.parametrize("west", [178.0, -182.0], ids=["to 180 and on", "from before -180"])
def test_a_box_across_the_180th_meridian(west: float) -> None:
    degrees = RasterGeoref(DEGREES, (0.01, 0.0, west, 0.0, -0.01, 10.0))
    info = replace(INFO, georef=degrees, extent=(500, 400))
    area, _ = area_of(AreaOptions(bbox=(179.0, 6.0, -179.0, 8.0)), info)
    assert area is not None
    assert area.bounds(Box.whole(info.extent)) == Box((200, 100), (400, 300))
    assert area.mask(Box((200, 100), (400, 300))).all()


def test_degrees_that_are_counted_to_360() -> None:
    info = replace(INFO, georef=RasterGeoref(DEGREES, (0.01, 0.0, 350.0, 0.0, -0.01, 10.0)))
    area, _ = area_of(AreaOptions(bbox=(-9.0, 6.0, -8.0, 8.0)), info)
    assert area is not None
    assert area.bounds(Box.whole(EXTENT)) == Box((200, 100), (400, 200))


def test_what_has_no_place_is_refused_in_a_line(tmp_path: Path) -> None:
    inside = write(tmp_path / "in.geojson", on_map(shapely.box(10, 10, 20, 20)))
    far = write(tmp_path / "far.geojson", on_map(shapely.box(5000, 10, 5100, 20)))
    thin = write(tmp_path / "thin.geojson", on_map(shapely.box(10.6, 10, 11.4, 20)))
    bare = replace(INFO, georef=RasterGeoref())
    volume = replace(INFO, kind="volume", georef=VolumeGeoref(tuple(map(tuple, np.eye(4)))))
    for options, info, words in (
        (AreaOptions(crop=True), INFO, "--crop needs"),
        (AreaOptions(aoi=inside, bbox=(1.0, 2.0, 3.0, 4.0)), INFO, "leave out one"),
        (AreaOptions(aoi=far), INFO, "holds no pixel of scene.tif"),
        (AreaOptions(aoi=thin), INFO, "holds no pixel of scene.tif"),
        (AreaOptions(aoi=inside), bare, "has no CRS"),
        (AreaOptions(bbox=(1.0, 2.0, 3.0, 4.0)), volume, "is a volume"),
        (AreaOptions(aoi=str(tmp_path / "none.geojson")), INFO, "none.geojson"),
    ):
        with pytest.raises(InputError, match=words) as found:
            area_of(options, info)
        assert "\n" not in str(found.value)
    assert area_of(AreaOptions(), INFO) == (None, ())
