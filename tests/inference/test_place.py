"""The place of a product is settled while planning: a whole prediction, or nothing at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint

import seg_batch
from seg_batch.core.errors import OutputError
from seg_batch.inference.request import Request, prepare
from seg_batch.inference.verify import verify_product

TEN = Affine(10, 0, 500000, 0, -10, 4000000)
POINTS = [GroundControlPoint(r, c, 10 * c, -10 * r, 0) for r, c in ((0, 0), (0, 20), (20, 0))]
UNHELD = "<PAMDataset><GeoTransform>5e5, 10, 0, 4e6, 0, -10</GeoTransform></PAMDataset>"


def write(path: Path, **place: Any) -> Path:
    shape = {"width": 40, "height": 30, "count": 1, "dtype": "uint8"}
    with rasterio.open(path, "w", driver="GTiff", **shape, **place) as file:
        file.write(np.ones((1, 30, 40), np.uint8))
    return path


def test_a_crs_beside_the_product_is_said_and_verified(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", crs="+proj=eqearth +datum=WGS84", transform=TEN)
    product = tmp_path / "o.tif"
    plan = prepare(Request(input=str(path), output=str(product), model="probe"))
    assert "o.tif.aux.xml" in plan.info.warnings[-1]
    assert not any(tmp_path.glob("o.*"))
    seg_batch.predict(path, product, model="probe")
    with rasterio.open(path) as before, rasterio.open(product) as after:
        assert after.crs == before.crs
    assert verify_product(product)["ok"]
    (tmp_path / "o.tif.aux.xml").unlink()
    assert not verify_product(product)["ok"]


def test_a_place_that_geotiff_cant_hold_is_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    """Control points of its own and a transform beside it, which GDAL reads as both."""
    path = write(tmp_path / "a.tif", crs="EPSG:32612", gcps=POINTS)
    path.with_name("a.tif.aux.xml").write_text(UNHELD)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OutputError, match=r"\.zarr, which holds it"):
        prepare(Request(input=str(path), output=str(tmp_path / "o.tif"), model="probe"))
    with pytest.raises(OutputError, match="can't hold the place"):
        seg_batch.predict(path, tmp_path / "o.tif", model="probe")
    assert sorted(tmp_path.iterdir()) == before
    seg_batch.predict(path, tmp_path / "o.zarr", model="probe")
    assert verify_product(tmp_path / "o.zarr")["ok"]
