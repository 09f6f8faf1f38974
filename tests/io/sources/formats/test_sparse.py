"""Sparse GeoTIFFs: what is not stored is known without being read, and is what GDAL reads there."""

from __future__ import annotations

import os
import struct
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

import seg_batch
from seg_batch.core.errors import ReadError
from seg_batch.core.geometry import Box
from seg_batch.io.sinks.cog.layout import _COUNTS, _OFFSETS, directories, table
from seg_batch.io.sources import open_source

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
SIDE, TILE = 64, 16
STORED = Window(16, 32, 16, 16)
BOXES = [
    Box((0, 0), (SIDE, 16)),  # none is stored
    Box((48, 32), (64, 64)),
    Box((5, 40), (6, 41)),
    Box((0, 0), (SIDE, SIDE)),  # one is
    Box((33, 17), (40, 20)),
    Box((31, 15), (33, 17)),
]


def sparse(path: Path, **more: Any) -> Path:
    fields: Any = {"driver": "GTiff", "height": SIDE, "width": SIDE, "count": 2, "dtype": "uint8"}
    tiles = {"tiled": True, "blockxsize": TILE, "blockysize": TILE, "sparse_ok": True}
    with rasterio.open(path, "w", **{**fields, **tiles, **more}) as file:
        pixels = np.random.default_rng(1).integers(1, 9, (file.count, 16, 16))
        file.write(pixels.astype(file.dtypes[0]), window=STORED)
    return path


@pytest.mark.parametrize(
    "options",
    [
        {"nodata": 0},
        {"nodata": 7, "interleave": "pixel", "compress": "deflate"},
        {"nodata": -1, "dtype": "float32"},
        {"count": 4, "photometric": "rgb", "alpha": "unassociated", "interleave": "pixel"},
        {"tiled": False, "blockysize": 16, "nodata": 0},
        {},
    ],
    ids=str,
)  # fmt: skip
def test_a_hole_reads_as_gdal_reads_it(tmp_path: Path, options: dict[str, Any]) -> None:
    path = sparse(tmp_path / "a.tif", **options)
    source = open_source(path)
    with rasterio.open(path) as file:
        for box in BOXES:
            pixels = source.read(box)
            window = tuple(zip(box.start, box.stop, strict=True))
            channels = pixels.values.shape[-1]
            expected = np.moveaxis(file.read(window=window)[:channels], 0, -1)
            masks = np.moveaxis(file.read_masks(window=window)[:channels], 0, -1)
            assert np.array_equal(pixels.values, expected)
            valid = np.ones(expected.shape, bool) if pixels.valid is None else pixels.valid
            assert np.array_equal(valid, masks > 0)
    source.close()


def test_a_hole_takes_no_memory(tmp_path: Path) -> None:
    with_nodata = open_source(sparse(tmp_path / "a.tif", nodata=0))
    without = open_source(sparse(tmp_path / "b.tif"))
    hole = with_nodata.read(BOXES[0])
    assert hole.valid is not None
    assert not hole.valid.any()
    assert hole.values.strides[:2] == hole.valid.strides[:2] == (0, 0)
    assert hole.once().values.shape == (1, 1, 2)
    assert without.read(BOXES[0]).values.strides[:2] != (0, 0)  # zeros that are data


def test_one_stored_band_is_no_hole(tmp_path: Path) -> None:
    path = sparse(tmp_path / "a.tif", nodata=0, interleave="band")
    with rasterio.open(path, "r+") as file:
        file.write(np.full((1, 16, 16), 5, np.uint8), [2], window=Window(0, 0, 16, 16))
    pixels = open_source(path).read(Box((0, 0), (16, 16)))
    assert pixels.valid is not None
    assert pixels.valid[..., 1].all()
    assert not pixels.valid[..., 0].any()


@pytest.mark.full
def test_an_empty_scene_has_the_map_of_a_stored_one(tmp_path: Path) -> None:
    """Several blocks, one with a tile of data; the same pixels, all of them stored, give the same product."""
    side = 3000
    maps = []
    for name, more in (("sparse", {"sparse_ok": True}), ("stored", {})):
        place = {"crs": "EPSG:32612", "transform": rasterio.Affine(1, 0, 3e5, 0, -1, 4.2e6)}
        shape = {"height": side, "width": side, "count": 1, "dtype": "uint8", "nodata": 0}
        tiles = {"tiled": True, "blockxsize": 512, "blockysize": 512}
        path = tmp_path / name / "scene.tif"
        path.parent.mkdir()
        with rasterio.open(path, "w", driver="GTiff", **place, **shape, **tiles, **more) as file:
            if name == "stored":
                file.write(np.zeros((1, side, side), np.uint8))
            pixels = np.random.default_rng(2).integers(1, 8, (1, 512, 512)).astype(np.uint8)
            file.write(pixels, window=Window(512, 1024, 512, 512))
        seg_batch.predict(path, path.with_name("map.tif"), model="probe", block=(1024, 1024))
        with rasterio.open(path.with_name("map.tif")) as file:
            maps.append(file.read())
    assert np.array_equal(*maps)
    assert (maps[0] == 255).sum() == side**2 - 512**2


@pytest.mark.parametrize("tag", [_OFFSETS, _COUNTS])
def test_what_the_table_can_not_say_is_no_hole(tmp_path: Path, tag: int) -> None:
    """A file that is cut after it was opened, within its table of tiles: those of row 64 and on have no place."""
    path, side = tmp_path / "a.tif", 128 * TILE
    with rasterio.open(sparse(path, height=side, width=side, count=1, nodata=0), "r+") as file:
        for y in range(0, side, TILE):
            file.write(np.ones((1, TILE, TILE), "uint8"), window=Window(y, y, TILE, TILE))
    data = bytearray(path.read_bytes())
    data += bytes(-len(data) % 4096)
    entry = next(directories(data))[tag]
    numbers = table(data, entry)[0].tobytes()
    struct.pack_into(entry.code, data, entry.value_at, len(data))
    path.write_bytes(data + numbers)
    with closing(open_source(path)) as source:
        os.truncate(path, len(data) + len(numbers) // 2)
        with pytest.raises(ReadError):
            source.read(Box((63 * TILE, 64 * TILE), (66 * TILE, 66 * TILE)))
