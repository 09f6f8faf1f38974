"""Tables of zones: against what is counted pixel by pixel, and what is told of zones that are odd."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from rasterio.transform import from_origin

import seg_batch
from seg_batch.core.errors import InputError, PlanError
from seg_batch.io.sinks.tables import zone_sizes
from seg_batch.io.sources.areas.ellipsoid import ellipsoid_of

EXTENT = (70, 90)
SHAPES = {
    "left": shapely.Point(13.02, 51.97).buffer(0.017),
    "right": shapely.box(13.051, 51.941, 13.0833, 51.98).difference(
        shapely.box(13.06, 51.95, 13.07, 51.96)
    ),
    "away": shapely.box(20, 20, 21, 21),
}


def write_zones(path: Path, shapes: list[Any], names: list[str], field: str = "NAME") -> Path:
    import pyarrow as pa

    table = pa.table({field: names, "geometry": shapely.to_wkb(np.array(shapes, object))})
    pyogrio.raw.write_arrow(
        table, path, geometry_name="geometry", geometry_type="Polygon", crs="EPSG:4326"
    )
    return path


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    y, x = np.mgrid[: EXTENT[0], : EXTENT[1]]
    values = ((x // 7 + y // 5 * 3) % 8 + 0.5).astype("float32")
    profile = {"height": EXTENT[0], "width": EXTENT[1], "count": 1, "dtype": "float32"}
    transform = from_origin(13, 52, 0.001, 0.001)
    with rasterio.open(
        tmp_path / "in.tif", "w", driver="GTiff", crs="EPSG:4326", transform=transform, **profile
    ) as file:
        file.write(values, 1)
    return tmp_path / "in.tif"


def table(scene: Path, zones: Path, **more: Any) -> tuple[list[dict[str, str]], list[str]]:
    output = scene.parent / "out.tif"
    report = seg_batch.predict(
        scene, output, model="probe", also=(".csv",), zones=str(zones), **more
    )
    with output.with_suffix(".csv").open(newline="") as file:
        return list(csv.DictReader(file)), list(report["source"]["warnings"])


def pixels() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Class, and square, of each pixel; and its area in hectares."""
    y, x = np.mgrid[: EXTENT[0], : EXTENT[1]]
    west, north = 13 + x * 0.001, 52 - y * 0.001
    squares = shapely.box(west, north - 0.001, west + 0.001, north)
    body = ellipsoid_of(rasterio.CRS.from_epsg(4326).to_wkt())
    assert body is not None
    low, high = np.deg2rad(north - 0.001), np.deg2rad(north)
    return (x // 7 + y // 5 * 3) % 8, squares, np.deg2rad(0.001) * body.zone(low, high) / 1e4


@pytest.mark.parametrize("fractional", [False, True])
def test_each_zone_has_what_is_counted_pixel_by_pixel(
    scene: Path, fractional: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zone_sizes, "SIDE", 16)  # zones lie in several squares
    zones = write_zones(scene.parent / "z.gpkg", list(SHAPES.values()), list(SHAPES))
    rows, warnings = table(scene, zones, fractional=fractional)
    assert [row["zone"] for row in rows[::8]] == ["(all)", *SHAPES]
    labels, squares, hectares = pixels()
    for row in rows[8:]:
        shape = SHAPES[row["zone"]]
        if fractional:
            share = shapely.area(shapely.intersection(shape, squares)) / 1e-6
        else:
            share = shapely.contains(shape, shapely.centroid(squares)).astype(float)
        share *= labels == int(row["class_id"])
        assert np.isclose(float(row["voxels"]), share.sum(), 1e-6)
        assert np.isclose(float(row["ha"]), (share * hectares).sum(), 2e-4)
    assert any("1 of 3 zones lie outside" in line for line in warnings)
    assert not any("overlap" in line for line in warnings)


def test_zones_that_share_out_the_map_add_up_to_it(scene: Path) -> None:
    halves = [shapely.box(12, 50, 13.0411, 53), shapely.box(13.0411, 50, 14, 53)]
    rows, _ = table(scene, write_zones(scene.parent / "z.fgb", halves, ["a", "b"]))
    for whole, a, b in zip(rows[:8], rows[8:16], rows[16:], strict=True):
        assert int(whole["voxels"]) == int(a["voxels"]) + int(b["voxels"])
        assert np.isclose(float(whole["ha"]), float(a["ha"]) + float(b["ha"]), 1e-8)


def test_overlaps_are_told_and_one_name_is_one_zone(scene: Path) -> None:
    shapes = [shapely.box(13, 51.95, 13.05, 52), shapely.box(13.02, 51.94, 13.06, 51.97)]
    rows, warnings = table(scene, write_zones(scene.parent / "z.gpkg", shapes, ["a", "b"]))
    assert any("1 pairs of zones overlap (a and b)" in line for line in warnings)
    apart = sum(int(row["voxels"]) for row in rows[8:])
    zones = write_zones(scene.parent / "y.gpkg", shapes, ["a", "a"])
    rows, warnings = table(scene, zones)
    assert [row["zone"] for row in rows[::8]] == ["(all)", "a"]
    joined = sum(int(row["voxels"]) for row in rows[8:])
    assert (apart, joined) == (50 * 50 + 40 * 30, 50 * 50 + 40 * 30 - 30 * 20)
    assert not any("overlap" in line and "y.gpkg" in line for line in warnings)


def test_a_changed_file_of_zones_remakes_the_table(scene: Path) -> None:
    zones = write_zones(scene.parent / "z.gpkg", [SHAPES["left"]], ["a"])
    before, _ = table(scene, zones)
    zones.unlink()
    write_zones(zones, [SHAPES["right"]], ["a"])
    after, _ = table(scene, zones)
    assert before != after


def test_what_can_not_be_counted_is_refused_first(scene: Path) -> None:
    zones = write_zones(scene.parent / "z.gpkg", [SHAPES["left"]], ["a"], "kreis")
    for error, words, more in (
        (InputError, "--zone-field", {"zones": str(zones), "also": (".csv",)}),
        (InputError, "kreis", {"zones": str(zones), "also": (".csv",), "zone_field": "x"}),
        (PlanError, "--also .csv", {"zones": str(zones)}),
        (PlanError, "--zones", {"fractional": True}),
    ):
        with pytest.raises(error, match=words):
            seg_batch.predict(scene, scene.parent / "out.tif", model="probe", **more)
    assert not (scene.parent / "out.tif").exists()
