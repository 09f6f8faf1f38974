"""One damaged tile of a GeoTIFF: a hole where it is, and right values everywhere else, however the file is read."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import rasterio

from seg_batch.core.errors import ReadError
from seg_batch.core.geometry import Box
from seg_batch.io.sources import open_source
from seg_batch.io.sources.tolerant_read import read_window

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
SIDE = 1536
TILES = {"tiled": True, "blockxsize": 256, "blockysize": 256}


def damaged(path: Path, compress: str, count: int, dtype: str, interleave: str) -> np.ndarray:
    """Write a file of nine chunks, overwrite tile (4, 4) of its first band, and return its pixels, ``(y, x, band)``."""
    pixels = np.random.default_rng(0).integers(1, 8, (count, SIDE, SIDE)).astype(dtype)
    fields = {"driver": "GTiff", "height": SIDE, "width": SIDE, "count": count, "dtype": dtype}
    with rasterio.open(
        path, "w", **fields, **TILES, compress=compress, interleave=interleave
    ) as file:
        file.write(pixels)
    with rasterio.open(path) as file:
        start, nbytes = (
            int(file.get_tag_item(f"BLOCK_{name}_4_4", "TIFF", bidx=1))
            for name in ("OFFSET", "SIZE")
        )
    with path.open("r+b") as raw:
        raw.seek(start)
        raw.write(b"\xff" * nbytes)
    return np.moveaxis(pixels, 0, -1)


@pytest.mark.parametrize("compress", ["deflate", "zstd"])
@pytest.mark.parametrize("layout", [(1, "uint8", "band"), (2, "uint16", "pixel"), (2, "float32", "band")],
                         ids=str)  # fmt: skip
def test_is_a_hole_at_every_read(
    tmp_path: Path, compress: str, layout: tuple[int, str, str]
) -> None:
    pixels = damaged(tmp_path / "a.tif", compress, *layout)
    hole = Box((1024, 1024), (1536, 1536))  # the chunk of the tile
    with closing(open_source(tmp_path / "a.tif")) as source:
        assert source.info.chunk == (512, 512)
        for start in (512, 0, 960):
            window = Box((start, start), (SIDE, SIDE))
            read, holes = read_window(source, window)
            assert holes == [hole.intersection(window)]
            expected = np.ones(pixels.shape, bool)
            expected[hole.slices()] = False
            assert read.valid is not None
            assert np.array_equal(read.valid, expected[window.slices()])
            assert np.array_equal(read.values[read.valid], pixels[window.slices()][read.valid])
        for _ in range(2):
            with pytest.raises(ReadError):
                source.read(hole)
            with pytest.raises(ReadError):
                source.reduced((SIDE, SIDE))
