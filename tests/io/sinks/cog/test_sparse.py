"""Tiles of nodata take no bytes, in overviews neither, and how tiles are compressed is as GDAL does it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil

from seg_batch.core.geometry import Box
from seg_batch.io.sinks.cog.check import check_cog
from seg_batch.io.sinks.cog.overviews import majority_overview
from seg_batch.io.sinks.cog.place import placed
from seg_batch.io.sinks.cog.write import create_plain, write_cog, written_whole
from seg_batch.io.sinks.spec import ProductSpec
from seg_batch.io.sources import open_source
from tests.support.io.stores import CLASSES, PLACED

GDAL = {
    "auto": {"COMPRESS": "DEFLATE", "LEVEL": 1},
    "deflate": {"COMPRESS": "DEFLATE"},
    "zstd": {"COMPRESS": "ZSTD"},
    "lzw": {"COMPRESS": "LZW"},
    "none": {"COMPRESS": "NONE"},
}
SPEC = ProductSpec((2500, 1800), "uint8", 255, CLASSES[:5], PLACED, tags={"SEGBATCH_STATUS": "x"})


def pixels() -> np.ndarray:
    """An island of labels in nodata."""
    rng = np.random.default_rng(1)
    out = np.full(SPEC.extent, 255, np.uint8)
    out[600:1100, 700:1500] = np.kron(rng.integers(0, 5, (50, 80)), np.ones((10, 10), int))
    return out


def by_gdal(folder: Path, spec: ProductSpec, labels: np.ndarray, **options: object) -> bytes:
    path = plain = folder / "plain.tif"
    level = spec
    with written_whole(spec):
        while True:
            with create_plain(path, level) as file:
                file.write(labels, 1)
            if max(level.extent) <= 512:
                break
            level, labels = level.halved(), majority_overview(labels)
            path = path.with_name(path.name + ".ovr")
        more = {"BLOCKSIZE": 512, "BIGTIFF": "IF_SAFER", "SPARSE_OK": "YES"}
        rasterio.shutil.copy(plain, folder / "gdal.tif", driver="COG", **more, **options)
    return (folder / "gdal.tif").read_bytes()


@pytest.mark.parametrize("compress", GDAL)
@pytest.mark.parametrize("piece_bytes", [1, 8 << 20], ids=["boxes of a tile", "one box"])
def test_the_bytes_are_those_of_gdal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compress: str, piece_bytes: int
) -> None:
    monkeypatch.setattr("seg_batch.io.sinks.cog.tiles.PIECE_BYTES", piece_bytes)
    spec, labels, path = placed(replace(SPEC, compress=compress)), pixels(), tmp_path / "a.tif"
    write_cog(path, spec, lambda box: labels[box.slices()])
    check_cog(path, spec, lambda box: labels[box.slices()])
    source = open_source(path)
    assert np.array_equal(source.read(Box.whole(SPEC.extent)).values[..., 0], labels)
    source.close()
    with rasterio.open(path) as file:
        assert file.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1) is None
        assert file.get_tag_item("BLOCK_OFFSET_2_2", "TIFF", bidx=1) is not None
        assert file.overviews(1) == [2, 4, 8]
    assert path.read_bytes() == by_gdal(tmp_path, spec, labels, **GDAL[compress])


@pytest.mark.parametrize("piece_bytes", [1, 8 << 20])
def test_nothing_but_nodata(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece_bytes: int
) -> None:
    monkeypatch.setattr("seg_batch.io.sinks.cog.tiles.PIECE_BYTES", piece_bytes)
    labels = np.full(SPEC.extent, 255, np.uint8)
    write_cog(tmp_path / "a.tif", SPEC, lambda box: labels[box.slices()])
    check_cog(tmp_path / "a.tif", placed(SPEC), lambda box: labels[box.slices()])
    assert (tmp_path / "a.tif").read_bytes() == by_gdal(tmp_path, SPEC, labels, **GDAL["auto"])
