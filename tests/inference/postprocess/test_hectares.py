"""Hectares of classes and objects where pixels of one raster differ in area: against pyproj, over any blocks."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyproj
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from scipy import ndimage

from seg_batch.batch.summaries import result_of
from seg_batch.cli.display.lines import summary_lines
from seg_batch.config.postprocess import parse_step
from seg_batch.core.georef import RasterGeoref
from seg_batch.inference.api.predict import predict
from seg_batch.inference.postprocess.array_chain import run_chain
from seg_batch.inference.postprocess.label_context import LabelContext
from seg_batch.io.sources.areas.pixel_areas import PixelAreas
from seg_batch.io.sources.crs import crs_wkt
from tests.support.files import write_raster
from tests.support.postprocess import slow

PIXEL = 0.05  # degrees


def by_row(north: float, rows: int, crs: str = "EPSG:4326") -> np.ndarray:
    """Hectares of the pixels of each row, as pyproj measures their outlines."""
    geod = pyproj.CRS.from_user_input(crs).get_geod()
    out = []
    for row in range(rows):
        low, high = north - (row + 1) * PIXEL, north - row * PIXEL
        area, _ = geod.polygon_area_perimeter([0, PIXEL, PIXEL, 0], [low, low, high, high])
        out.append(abs(area) / 1e4)
    return np.array(out)


@given(st.integers(0, 2**32), st.sampled_from([0, None]), st.data())
@settings(deadline=None, max_examples=60)
def test_objects_are_measured_on_the_ellipsoid_over_any_blocks(seed, background, data):
    shape = tuple(data.draw(st.integers(1, 24)) for _ in range(2))
    block = tuple(data.draw(st.integers(1, n)) for n in shape)
    north = data.draw(st.sampled_from([88.0, 61.0, -30.0]))
    noise = np.random.default_rng(seed).random((4, *shape))
    labels = ndimage.gaussian_filter(noise, (0, 0.7, 0.7)).argmax(0).astype(np.uint8)
    labels[labels == 3] = 255
    georef = RasterGeoref(crs_wkt(CRS.from_epsg(4326)), (PIXEL, 0, 10, 0, -PIXEL, north))
    areas = PixelAreas.of(georef, shape)
    setting = LabelContext({"none": 0, "a": 1, "b": 2}, background, 255, areas=areas)
    rows = np.broadcast_to(by_row(north, shape[0])[:, None], shape)
    sizes = sorted({float(rows[mask].sum()) for _, mask in slow.objects(labels)})
    least = data.draw(st.sampled_from(sizes)) * 1.001
    if any(abs(size / least - 1) < 5e-4 for size in sizes):
        return
    small = [
        mask
        for label, mask in slow.objects(labels)
        if label not in (background, 255) and rows[mask].sum() < least
    ]
    result = labels.copy()
    run_chain([parse_step(f"min_size:{least:.6f}ha")], result, setting, block=block)
    assert np.array_equal(result, slow.without(labels, small, setting))


@pytest.mark.full
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857"])
def test_a_map_has_the_hectares_of_pyproj_whatever_the_blocks(crs: str, tmp_path: Path) -> None:
    north, shape = 60.0, (1100, 90)
    labels = np.random.default_rng(1).integers(0, 8, shape).astype(np.uint8)
    labels[:600][labels[:600] == 3] = 4  # a class of the south alone
    labels[labels == 6] = 2  # and one that is nowhere
    transform = Affine(PIXEL, 0, 10, 0, -PIXEL, north)
    per_pixel = np.broadcast_to(by_row(north, shape[0])[:, None], shape)
    if crs != "EPSG:4326":
        side = 2000.0
        transform = Affine(side, 0, 1e6, 0, -side, 8.4e6)
        to = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
        lines = to.transform(np.full(shape[0] + 1, 1e6), 8.4e6 - side * np.arange(shape[0] + 1))[1]
        wide = to.transform(side, 0)[0]
        geod = pyproj.CRS.from_user_input(crs).get_geod()
        rows = [
            geod.polygon_area_perimeter([0, wide, wide, 0], [a, a, b, b])[0] / 1e4
            for a, b in zip(lines[1:], lines[:-1], strict=True)
        ]
        per_pixel = np.broadcast_to(np.abs(rows)[:, None], shape)
    scene = write_raster(tmp_path / "a.tif", labels[None], crs=crs, transform=transform)
    runs = [
        predict(
            scene, tmp_path / f"{n}.tif", model="probe", block=(n, n), post=("min_size:3000ha",)
        )
        for n in (1024, 2048)
    ]
    assert [run["blocks"]["total"] for run in runs] == [2, 1]
    assert runs[0]["product"]["sha256"] == runs[1]["product"]["sha256"]
    assert runs[0]["classes"] == runs[1]["classes"]
    assert runs[0]["post"][0]["objects_changed"]
    empty = [row for row in runs[0]["classes"] if not row["voxels"]]
    assert empty
    lines = summary_lines(runs[0])
    rows = [result_of(runs[0], 0.0, "w")["classes"], runs[0]["classes"]]
    for row in empty:
        assert (row["hectares"], row["share"]) == (0, 0)
        assert re.search(rf"{row['name']} +0.00 ha +0", lines)
        assert all(row in kept for kept in rows)
    assert not any("ercator" in line for line in runs[0]["source"]["warnings"])
    plain = predict(scene, tmp_path / "plain.tif", model="probe")["classes"]
    for row in plain:
        assert row["hectares"] == pytest.approx(per_pixel[labels == row["id"]].sum(), rel=1e-3)
