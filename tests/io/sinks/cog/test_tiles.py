"""The bytes of a COG are those that GDAL's own driver writes, whatever the order of boxes, and on how many threads."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil

from seg_batch.core.geometry import Box, Shape
from seg_batch.io.sinks.cog.layout import directories, head, is_big, strip, table, tiles_of
from seg_batch.io.sinks.cog.overviews import majority_overview, mean_overview
from seg_batch.io.sinks.cog.write import begin_cog, create_plain, write_cog, written_whole
from seg_batch.io.sinks.spec import ProductSpec
from seg_batch.io.sources.constant import constant
from tests.support.io.stores import CLASSES, PLACED

CASES: dict[str, tuple[Shape, str, int | None, bool]] = {
    "a pixel": ((1, 1), "uint8", 255, False),
    "a column": ((1500, 1), "uint8", 255, False),
    "a row": ((1, 1500), "uint8", 0, False),
    "whole tiles": ((1024, 1024), "uint8", None, False),
    "odd sides": ((1537, 1101), "uint8", 255, False),
    "16 bits": ((700, 1030), "uint16", 65535, False),
    "bands": ((600, 1100), "uint8", None, True),
}


def spec_of(extent: Shape, dtype: str, nodata: int | None, bands: bool) -> ProductSpec:
    tags = {"SEGBATCH_STATUS": "complete"}
    return ProductSpec(extent, dtype, nodata, CLASSES[:5], PLACED, bands, tags)


def pixels_of(spec: ProductSpec) -> np.ndarray:
    """Fields of one label with stray pixels, and a part of one value; ``(bands, y, x)``."""
    height, width = spec.extent
    shape = (spec.bands, height // 40 + 1, width // 40 + 1)
    rng = np.random.default_rng(height)
    pixels = np.kron(rng.integers(0, 5, shape), np.ones((1, 40, 40), int))[:, :height, :width]
    pixels[rng.random(pixels.shape) < 0.02] = 3
    pixels[:, : height // 2, width // 2 :] = 4
    return pixels.astype(spec.dtype)


def by_gdal(folder: Path, spec: ProductSpec, pixels: np.ndarray) -> bytes:
    """What the COG driver makes of the whole raster and its overviews."""
    smaller = mean_overview if spec.is_probabilities else majority_overview
    path = plain = folder / "plain.tif"
    level = spec
    with written_whole(spec):
        while True:
            with create_plain(path, level) as file:
                file.write(pixels)
            if max(level.extent) <= 512:
                break
            level, pixels = level.halved(), smaller(pixels)
            path = path.with_name(path.name + ".ovr")
        options = {"BLOCKSIZE": 512, "COMPRESS": "DEFLATE", "BIGTIFF": "IF_SAFER"}
        rasterio.shutil.copy(plain, folder / "cog.tif", driver="COG", **options)
    return (folder / "cog.tif").read_bytes()


@pytest.mark.parametrize("piece_bytes", [1, 8 << 20], ids=["boxes of a tile", "one box"])
@pytest.mark.parametrize("case", CASES)
def test_the_bytes_are_those_of_gdal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, piece_bytes: int
) -> None:
    monkeypatch.setattr("seg_batch.io.sinks.cog.tiles.PIECE_BYTES", piece_bytes)
    spec = spec_of(*CASES[case])
    pixels = pixels_of(spec)
    write_cog(tmp_path / "a.tif", spec, lambda box: pixels[(slice(None), *box.slices())])
    assert (tmp_path / "a.tif").read_bytes() == by_gdal(tmp_path, spec, pixels)


def test_any_order_and_any_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seg_batch.io.sinks.cog.tiles.PIECE_BYTES", 1)
    spec = spec_of(*CASES["odd sides"])
    pixels = pixels_of(spec)[0]

    def read(box: Box) -> np.ndarray:
        return pixels[box.slices()]

    write_cog(tmp_path / "a.tif", spec, read)
    tiles = begin_cog(spec, tmp_path)
    boxes = tiles.missing
    random.Random(0).shuffle(boxes)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda box: tiles.add(box, read(box)), boxes[2:]))
    assert len(tiles.missing) == 2
    write_cog(tmp_path / "b.tif", spec, read, tiles)
    tiles.close()
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()
    assert not [path for path in tmp_path.iterdir() if ".strip" not in path.name][2:]


def test_pixels_of_one_value_have_the_bytes_of_others(tmp_path: Path) -> None:
    """They are encoded once; where a whole raster is such, so are its overviews."""
    spec = spec_of((5000, 4700), "uint8", 255, False)
    write_cog(tmp_path / "a.tif", spec, lambda box: constant(np.uint8(255), box.shape))
    write_cog(tmp_path / "b.tif", spec, lambda box: np.full(box.shape, 255, np.uint8))
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


@pytest.mark.parametrize("extent", [(46_000, 46_000), (70_000, 45_000)])
def test_the_head_of_a_bigtiff(tmp_path: Path, extent: Shape) -> None:
    """Too large for a test of its pixels: GDAL finds every tile where it is said to be."""
    spec = spec_of(extent, "uint8", 255, False)
    assert is_big(extent, 1)
    assert not is_big((40_000, 35_000), 1)
    small = replace(spec, extent=strip(extent))
    with create_plain(tmp_path / "plain.tif", small), written_whole(spec):
        pass
    options = {"BLOCKSIZE": 512, "COMPRESS": "DEFLATE", "BIGTIFF": "YES", "SPARSE_OK": "YES"}
    rasterio.shutil.copy(tmp_path / "plain.tif", tmp_path / "strip.tif", driver="COG", **options)
    data = (tmp_path / "strip.tif").read_bytes()
    levels = [(n, int(np.prod(tiles_of(e)))) for n, e in enumerate(_extents_in(data, extent))]
    sizes = [np.arange(count, dtype=np.uint32) + 100 for _, count in levels]
    whole = head(data, extent, sizes)
    (tmp_path / "head.tif").write_bytes(whole)
    with rasterio.open(tmp_path / "head.tif") as file:
        assert file.shape == extent
        last = "_".join(str(n - 1) for n in reversed(tiles_of(extent)))
        at = file.get_tag_item(f"BLOCK_OFFSET_{last}", "TIFF", bidx=1)
        assert int(file.get_tag_item(f"BLOCK_SIZE_{last}", "TIFF", bidx=1)) == sizes[0][-1]
        everything = sum(int(each.sum()) + 8 * len(each) for each in sizes)
        assert int(at) + sizes[0][-1] + 4 == len(whole) + everything


def _extents_in(data: bytes, extent: Shape) -> list[Shape]:
    """Those of the directories of a strip, with the other side that they shall have."""
    sides = []
    for level, entries in enumerate(directories(data)):
        del entries
        sides.append(tuple(-(-n // 2**level) for n in extent))
    return sides


def test_a_table_in_its_entry_and_one_elsewhere(tmp_path: Path) -> None:
    for extent, elsewhere in (((500, 500), False), ((1000, 1000), True)):
        spec = spec_of(extent, "uint8", 255, False)
        write_cog(tmp_path / "a.tif", spec, lambda box: np.zeros(box.shape, np.uint8))
        data = (tmp_path / "a.tif").read_bytes()
        numbers, at = table(data, next(directories(data))[324])
        assert len(numbers) == np.prod(tiles_of(extent))
        assert (at is not None) == elsewhere
