"""Chosen channels are those of the whole source, and no others are read."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seg_batch.core.geometry import Box
from seg_batch.io.sources import Source, open_source
from seg_batch.io.sources.views.channels.selected import selected
from seg_batch.io.sources.views.image_spec import ImageSpec

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
VALUES = np.random.default_rng(4).integers(0, 9, (5, 12, 10)).astype("uint16")


def write(path: Path, values: np.ndarray, **more: Any) -> str:
    size: Any = {"driver": "GTiff", "height": 12, "width": 10, "count": len(values)}
    tags = more.pop("tags", {})
    with rasterio.open(path, "w", **size, dtype=values.dtype, **more) as file:
        file.write(values)
        file.scales = [0.5 + k for k in range(len(values))]
        file.update_tags(**tags)
    return str(path)


def by_pixel(folder: Path) -> Source:
    return open_source(write(folder / "p.tif", VALUES, interleave="pixel", nodata=3))


def by_band(folder: Path) -> Source:
    return open_source(write(folder / "b.tif", VALUES, interleave="band", nodata=3))


def together(folder: Path) -> Source:
    """Pixels are nodata where all bands are: all must be read."""
    tags = {"NODATA_VALUES": "1 1 1 1 1"}
    return open_source(write(folder / "t.tif", VALUES // 7, tags=tags))


def stack(folder: Path) -> Source:
    a = write(folder / "a.tif", VALUES[:2], nodata=3)
    return ImageSpec((a, write(folder / "c.tif", VALUES[2:]))).open()


def chunked(folder: Path) -> Source:
    array = zarr.create_array(folder / "z.zarr", shape=VALUES.shape, chunks=(1, 6, 5), dtype="uint16", overwrite=True,
                              dimension_names=("band", "y", "x"), attributes={"_FillValue": 3})  # fmt: skip
    array[:] = VALUES
    return open_source(folder / "z.zarr")


@pytest.mark.parametrize("make", [by_pixel, by_band, together, stack, chunked])
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(indices=st.lists(st.integers(0, 4), min_size=1, max_size=5))
def test_chosen_channels_are_those_of_the_whole(
    tmp_path: Path, make: Callable[[Path], Source], indices: list[int]
) -> None:
    box = Box((2, 1), (9, 10))
    with closing(make(tmp_path)) as whole:
        expected = whole.read(box).channels(indices)
    with closing(selected(make(tmp_path), indices)) as part:
        pixels, info = part.read(box), part.info
    np.testing.assert_array_equal(pixels.values, expected.values)
    assert pixels.scale == expected.scale == info.scale
    valid = [
        np.ones(p.values.shape, bool) if p.valid is None else p.valid for p in (pixels, expected)
    ]
    np.testing.assert_array_equal(*valid)
    assert info.channels == tuple(whole.info.channels[k] for k in indices)
    assert info.bands == ([] if indices == [0, 1, 2, 3, 4] else [k + 1 for k in indices])


def test_channels_that_are_not_chosen_are_not_read(tmp_path: Path) -> None:
    with closing(chunked(tmp_path)) as whole:
        width = whole.info.voxel_bytes
    for chunk in (tmp_path / "z.zarr" / "c").glob("[0134]/*/*"):
        chunk.write_bytes(b"damaged")
    with closing(selected(open_source(tmp_path / "z.zarr"), (2,))) as part:
        np.testing.assert_array_equal(part.read(Box((0, 0), (12, 10))).values[..., 0], VALUES[2])
        assert part.info.voxel_bytes == width // 5


def test_where_all_must_be_read_the_memory_counts_them(tmp_path: Path) -> None:
    with closing(by_pixel(tmp_path)) as whole, closing(selected(by_pixel(tmp_path), (1,))) as part:
        assert part.info.voxel_bytes == whole.info.voxel_bytes // 5
    with closing(together(tmp_path)) as whole, closing(selected(together(tmp_path), (1,))) as part:
        assert part.info.voxel_bytes == whole.info.voxel_bytes * 6 // 5
