"""A mosaic of signed addresses: its maps are made, and what signs stands nowhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from seg_batch import predict
from seg_batch.core.errors import InputError
from seg_batch.io.sources.mosaic.order import ranks
from tests.support.files import address_raster, write_raster
from tests.support.remote.range_server import serving

SECRET = "geheim"


@pytest.fixture
def scene(tmp_path: Path) -> np.ndarray:
    values = address_raster((90, 120), 1, "uint8")
    for name, left in (("b", 0), ("a", 70)):
        place = Affine(30, 0, 301905 + 30 * left, 0, -30, 4154085)
        piece = values[:, :, left : 70 if left == 0 else None]
        write_raster(tmp_path / f"{name}.tif", piece, transform=place)
    return values


def test_what_signs_is_in_no_file(scene: np.ndarray, tmp_path: Path) -> None:
    out = tmp_path / "out"
    files = {f"/{name}.tif": (tmp_path / f"{name}.tif").read_bytes() for name in "ab"}
    with serving(files) as server:
        pieces = [f"{server.url}/{name}.tif?sig={SECRET}" for name in "ba"]
        made = {"model": "probe", "mosaic": True, "tiles_out": str(out / "tiles")}
        predict(pieces, out / "map.tif", keep_store=True, **made)
        again = [piece.replace(SECRET, "another") for piece in pieces]
        assert predict(again, out / "map.tif", **made)["seconds"] == 0
    for path in out.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    with rasterio.open(out / "map.tif") as whole, rasterio.open(out / "tiles/a_labels.tif") as tile:
        assert np.array_equal(whole.read(1), scene[0] % 8)
        assert np.array_equal(tile.read(1), scene[0, :, 70:] % 8)
        assert tile.tags()["SEGBATCH_INPUT"] == "a.tif"


def test_the_date_of_a_signature_is_not_that_of_a_file() -> None:
    with pytest.raises(InputError, match=r"https://host/x\.tif: neither"):
        ranks(["https://host/x.tif?X-Date=20260101T000000Z"], "date", lambda path: {})
    assert ranks([f"https://host/a.tif?{k}" for k in "yz"], "name", lambda path: {}) == [0, 1]
