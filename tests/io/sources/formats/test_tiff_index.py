"""What a TIFF does not store is known from its tables: never where a read finds something, and always where nothing is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from seg_batch.core.geometry import Box
from seg_batch.io.sources import open_source
from seg_batch.io.sources.formats.tiff_index import tiff_index
from seg_batch.io.sources.protocol import known_empty
from seg_batch.io.sources.views.channels.selected import Selected
from seg_batch.io.sources.views.image_spec import ImageSpec
from seg_batch.io.sources.views.upsampled import Upsampled

SIDES = (200, 330)
LAYOUTS: dict[str, dict[str, Any]] = {
    "tiles": {"tiled": True, "blockxsize": 32, "blockysize": 16},
    "tiles by band": {"tiled": True, "blockxsize": 32, "blockysize": 16, "interleave": "band"},
    "strips": {"blockysize": 7},
    "big, most significant first": {"tiled": True, "blockxsize": 32, "blockysize": 32, "BIGTIFF": "YES", "ENDIANNESS": "BIG"},
    "compressed": {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate"},
}  # fmt: skip


def scattered(path: Path, nodata: float | None, **layout: Any) -> np.ndarray:
    """Two bands with some boxes of numbers 1 and more; the numbers."""
    size = {"height": SIDES[0], "width": SIDES[1], "count": 2, "dtype": "int16", "sparse_ok": True}
    rng = np.random.default_rng(3)
    values = np.full((2, *SIDES), 0 if nodata is None else nodata, "int16")
    with rasterio.open(path, "w", driver="GTiff", nodata=nodata, **size, **layout) as file:
        for _ in range(6):
            y, x, band = *(rng.integers(0, np.array(SIDES) - 20)), int(rng.integers(1, 3))
            box = rng.integers(1, 99, (9, 14), "int16")
            file.write(box, band, window=((y, y + 9), (x, x + 14)))
            values[band - 1, y : y + 9, x : x + 14] = box
    return values


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_more_and_no_less_than_is_stored(tmp_path: Path, layout: str) -> None:
    path = tmp_path / "a.tif"
    values = scattered(path, -5, **LAYOUTS[layout])
    source = open_source(path)
    rng, known = np.random.default_rng(4), 0
    with rasterio.open(path) as file:
        block, planes = file.block_shapes[0], 1 if file.interleaving.value == "PIXEL" else 2
    index = tiff_index(path, SIDES, block, planes)
    assert index is not None
    for _ in range(300):
        start = rng.integers(0, SIDES)
        stop = np.minimum(start + rng.integers(1, 90, 2), SIDES)
        box = Box(tuple(start.tolist()), tuple(stop.tolist()))
        empty = known_empty(source, box)
        assert empty == index.is_hole(box)
        if empty:
            assert (values[(slice(None), *box.slices())] == -5).all()
            known += 1
        elif (values[(slice(None), *box.slices())] == -5).all():
            grown = [slice(a // b * b, -(-c // b) * b) for a, c, b in zip(*(box.start, box.stop), block, strict=True)]  # fmt: skip
            assert (values[(slice(None), *grown)] != -5).any()
    assert known > 20
    source.close()


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_only_where_what_is_not_stored_is_nodata(tmp_path: Path) -> None:
    path, box = tmp_path / "a.tif", Box((0, 0), (16, 16))
    for nodata, expected in ((None, False), (-5.0, True)):
        path.unlink(missing_ok=True)
        size = {"height": 64, "width": 64, "count": 1, "dtype": "int16", "sparse_ok": True}
        with rasterio.open(path, "w", driver="GTiff", nodata=nodata, tiled=True, blockxsize=16, blockysize=16, **size):  # fmt: skip
            pass
        source = open_source(path)
        assert known_empty(source, box) is expected
        source.close()


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_views_say_what_their_files_say(tmp_path: Path) -> None:
    for name in ("a.tif", "b.tif"):
        scattered(tmp_path / name, -5, **LAYOUTS["tiles by band"])
    with rasterio.open(tmp_path / "b.tif", "r+") as file:
        file.write(np.ones((1, 1), "int16"), 1, window=((199, 200), (0, 1)))
    stack = ImageSpec((str(tmp_path / "a.tif"), str(tmp_path / "b.tif"))).open()
    one = open_source(tmp_path / "a.tif")
    corner, other = Box((190, 0), (200, 10)), Box((0, 0), (1, 1))
    for box in (corner, other):
        whole = stack.read(box)
        assert known_empty(stack, box) is not bool(whole.any_valid().any())
    assert known_empty(one, corner)
    finer = Upsampled(Selected(one, (0,)), (3, 3))
    assert known_empty(finer, Box((571, 2), (599, 20)))
    assert not known_empty(finer, Box.whole(finer.info.extent))
    cut = ImageSpec(
        (str(tmp_path / "a.tif"),), window=Box((180, 0), (200, 40)), bands=("2",)
    ).open()
    assert known_empty(cut, Box((10, 0), (20, 10)))
    for source in (stack, finer, cut):
        source.close()


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_place_without_a_size_is_no_hole(tmp_path: Path) -> None:
    """A damaged table: what it says of this tile is for a read to find."""
    path, layout = tmp_path / "a.tif", {"tiled": True, "blockxsize": 64, "blockysize": 64}
    size = {"height": 64, "width": 128, "count": 1, "dtype": "int16", "sparse_ok": True}
    with rasterio.open(path, "w", driver="GTiff", **size, **layout) as file:
        file.write(np.ones((64, 64), "int16"), 1, window=((0, 64), (0, 64)))
    data = bytearray(path.read_bytes())
    counts = data.find((64 * 64 * 2).to_bytes(4, "little"), 8)
    data[counts : counts + 4] = bytes(4)
    path.write_bytes(data)
    index = tiff_index(path, (64, 128), (64, 64), 1)
    assert index is not None
    assert index.stored.ravel().tolist() == [True, False]


def test_tables_that_are_no_tables(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    scattered(path, -5, **LAYOUTS["tiles"])
    data = path.read_bytes()
    assert tiff_index(path, (2000, 330), (16, 32), 1) is None
    for cut in range(0, 400, 7):
        path.write_bytes(data[:cut])
        assert tiff_index(path, SIDES, (16, 32), 1) is None or cut > 8
    path.write_bytes(data[:4] + b"\xff" * 4 + data[8:])
    assert tiff_index(path, SIDES, (16, 32), 1) is None
