"""A sample is bounded, spread over the whole image, and has the values that are there."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.core.errors import ReadError
from seg_batch.core.geometry import Box
from seg_batch.core.georef import RasterGeoref, VolumeGeoref
from seg_batch.core.normalise import Pixels
from seg_batch.io.sources import open_source
from seg_batch.io.sources.protocol import SourceInfo
from seg_batch.io.sources.sample import READ_BYTES, VOXELS, WINDOWS, sample
from tests.support.files import address_raster, address_volume, write_raster, write_volume


class Addresses:
    """An image of any size, whose values are the address of each voxel, or that along one axis; it counts what
    is read."""

    def __init__(
        self,
        extent: tuple[int, ...],
        chunk: tuple[int, ...],
        block_bytes: int = 0,
        along: int | None = None,
    ) -> None:
        georef = RasterGeoref() if len(extent) == 2 else VolumeGeoref(np.eye(4).tolist())
        self.info = SourceInfo(
            path="addresses",
            format="none",
            kind="raster" if len(extent) == 2 else "volume",
            extent=extent,
            channels=("address",),
            dtype="float64",
            georef=georef,
            chunk=chunk,
            facts={"block_bytes": block_bytes},
        )
        self.read_bytes, self.along = 0, along

    def read(self, box: Box) -> Pixels:
        self.read_bytes += box.size * self.info.voxel_bytes
        parts = [np.arange(a, b) for a, b in zip(box.start, box.stop, strict=True)]
        grid = np.meshgrid(*parts, indexing="ij")
        if self.along is not None:
            return Pixels(grid[self.along].astype(np.float64)[..., None])
        return Pixels(np.ravel_multi_index(grid, self.info.extent).astype(np.float64)[..., None])

    def close(self) -> None: ...


@given(
    extent=st.lists(st.integers(1, 60), min_size=2, max_size=3).map(tuple),
    chunk=st.integers(1, 64),
)
def test_a_small_image_is_its_own_sample(extent: tuple[int, ...], chunk: int) -> None:
    seen = sample(Addresses(extent, tuple(min(chunk, n) for n in extent)))
    addresses = seen.values[:, 0].astype(int)
    assert len(set(addresses)) == len(addresses)
    if math.prod(extent) <= VOXELS // 2**3:
        assert sorted(addresses) == list(range(math.prod(extent)))
    places = np.array(np.unravel_index(addresses, extent)).T
    np.testing.assert_array_equal(
        seen.edge, ((places == 0) | (places == np.array(extent) - 1)).any(1)
    )


@pytest.mark.parametrize(
    ("extent", "chunk"),
    [
        ((100_000, 80_000), (512, 512)),
        ((90_000, 70_000), (1, 70_000)),
        ((100_000, 3), (100, 3)),
        ((900, 1024, 1024), (1, 1024, 1024)),
        ((4000, 900, 700), (128, 128, 128)),
    ],
)
def test_a_large_image_is_read_in_part_from_border_to_border(
    extent: tuple[int, ...], chunk: tuple[int, ...]
) -> None:
    axis = int(np.argmax(extent))
    source = Addresses(extent, chunk, along=axis)
    seen = sample(source)
    assert 0 < source.read_bytes <= READ_BYTES + WINDOWS
    assert len(seen.values) <= 2 * VOXELS
    along = seen.values[:, 0].astype(np.int64)
    assert along.min() == 0
    assert along.max() == extent[axis] - 1
    assert len(np.unique(along * 3 // extent[axis])) == 3  # each third


def test_blocks_that_are_too_large_are_not_looked_at() -> None:
    source = Addresses((100_000, 80_000), (100_000, 80_000), block_bytes=1 << 30)
    assert len(sample(source).values) == source.read_bytes == 0


def test_overviews_are_read_where_they_are(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", address_raster((600, 500), 2, "float64"))
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4])
    with rasterio.open(path) as dataset:
        expected = dataset.read(out_shape=(2, 150, 125))
    source = open_source(str(path))
    values = sample(source).values
    assert len(values) == 150 * 125
    np.testing.assert_array_equal(values, expected.reshape(2, -1).T.astype(np.float32))


def test_a_compressed_volume_is_read_without_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = address_volume((20, 30, 25))
    plain = write_volume(tmp_path / "v.nii", volume, np.diag([1, 2, 3, 1]))
    packed = tmp_path / "v.nii.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    monkeypatch.setattr("tempfile.TemporaryDirectory", None)
    expected, seen = sample(open_source(str(plain))), sample(open_source(str(packed)))
    np.testing.assert_array_equal(seen.values, expected.values)
    np.testing.assert_array_equal(seen.edge, expected.edge)


def test_what_can_not_be_read_is_left_out(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(1, 9999, (1, 4096, 512)).astype("uint16")
    path = write_raster(tmp_path / "a.tif", values, compress=None)
    data = path.read_bytes()
    path.write_bytes(data[:-3000])  # within the last of four tiles
    seen = sample(open_source(str(path)))
    assert set(seen.values[:, 0]) <= set(values.ravel())
    assert VOXELS // 8 < len(seen.values) < 2 * VOXELS
    packed = write_raster(tmp_path / "b.tif", values)
    content = packed.read_bytes()
    packed.write_bytes(content[:1000] + bytes(len(content) - 2000) + content[-1000:])
    with pytest.raises(ReadError):
        sample(open_source(str(packed)))
