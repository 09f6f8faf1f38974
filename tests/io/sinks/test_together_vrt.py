"""Many maps are seen as one, each pixel where it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

from seg_batch.io.sinks.together_vrt import together
from tests.support.files import write_raster

PLACE = {"tiled": False, "blockxsize": None, "blockysize": None, "nodata": 255}


def piece(path: Path, values: np.ndarray, x: int, y: int, **more: object) -> Path:
    path.parent.mkdir(exist_ok=True)
    place = Affine(30, 0, 301905 + 30 * x, 0, -30, 4154085 - 30 * y)
    profile = {"transform": place, "nodata": 255, "tiled": False, **more}
    for name in ("blockxsize", "blockysize"):
        profile.setdefault(name, None)
    return write_raster(path, values[None], **{k: v for k, v in profile.items() if v is not None})


def test_each_pixel_is_where_it_was_and_nodata_is_clear(tmp_path: Path) -> None:
    whole = (np.arange(40 * 50).reshape(40, 50) % 200).astype(np.uint8)
    run = tmp_path / "run"
    run.mkdir()
    first = piece(tmp_path / "maps" / "a & b.tif", whole[:25, :30], 0, 0)
    second = piece(tmp_path / "maps" / "c.tif", whole[20:, 25:], 25, 20)
    hole = whole[:25, :30].copy()
    hole[3:7, 4:9] = 255
    third = piece(tmp_path / "maps" / "d.tif", hole, 0, 0)
    other = piece(tmp_path / "maps" / "e.tif", whole, 0, 0, crs="EPSG:32613")
    texts = together([first, second, third, other], run, "maps")
    assert list(texts) == ["maps.vrt"]
    (run / "maps.vrt").write_bytes(texts["maps.vrt"])
    with rasterio.open(run / "maps.vrt") as file:
        assert file.crs.to_epsg() == 32612
        assert file.transform[:6] == (30, 0, 301905, 0, -30, 4154085)
        seen, expected = file.read(1), np.full((40, 50), 255, np.uint8)
    expected[:25, :30], expected[20:, 25:] = whole[:25, :30], whole[20:, 25:]
    assert np.array_equal(seen, expected)
