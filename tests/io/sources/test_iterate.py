"""One pass over a source: every voxel once, in pieces that memory can hold."""

from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.core.geometry import Box
from seg_batch.core.georef import RasterGeoref
from seg_batch.core.normalise import Pixels
from seg_batch.core.statistics.moments import Moments
from seg_batch.io.sources import corner_warnings, pieces
from seg_batch.io.sources.protocol import SourceInfo


@dataclass(frozen=True)
class Held:
    """A source in memory, whose voxels carry their address."""

    values: np.ndarray
    chunk: tuple[int, ...]

    @property
    def info(self) -> SourceInfo:
        return SourceInfo(
            "held", "array", "raster", self.values.shape[:-1],
            tuple(f"band{c + 1}" for c in range(self.values.shape[-1])),
            self.values.dtype.name, RasterGeoref(), self.chunk,
        )  # fmt: skip

    def read(self, box: Box) -> Pixels:
        assert Box.whole(self.info.extent).contains(box)
        return Pixels(self.values[box.slices()])

    def close(self) -> None: ...


@st.composite
def sources(draw):
    rank = draw(st.integers(2, 3))
    extent = tuple(draw(st.integers(1, 30)) for _ in range(rank))
    chunk = tuple(draw(st.integers(1, n)) for n in extent)
    channels = draw(st.integers(1, 3))
    count = int(np.prod(extent)) * channels
    return Held(np.arange(count, dtype="int32").reshape(*extent, channels), chunk)


@given(sources(), st.integers(1, 40_000))
def test_every_voxel_once_and_no_piece_too_large(source, max_bytes):
    seen = [piece.values for piece in pieces(source, max_bytes)]
    together = np.sort(np.concatenate([values.ravel() for values in seen]))
    np.testing.assert_array_equal(together, np.arange(source.values.size))
    least = 9 * source.values.shape[-1]
    assert max(values.size for values in seen) * 9 <= max(max_bytes, least)


def test_pieces_are_slabs_of_whole_chunks():
    source = Held(np.zeros((1000, 700, 1), "uint8"), (64, 128))
    shapes = {piece.values.shape for piece in pieces(source, 9 * 700 * 200)}
    assert shapes == {(192, 700, 1), (1000 % 192, 700, 1)}


@given(sources(), st.integers(100, 40_000))
def test_statistics_do_not_depend_on_the_pieces(source, max_bytes):
    found = Moments.of(pieces(source, max_bytes), source.values.shape[-1]).normaliser()
    flat = source.values.reshape(-1, source.values.shape[-1])
    np.testing.assert_allclose(found.mean, flat.mean(0))
    spread = flat.std(0)
    np.testing.assert_allclose(found.std, np.where(spread > 0, spread, 1), rtol=1e-9)


def test_small_sources_have_corners_too():
    assert corner_warnings(Held(np.full((1, 1, 1), -9999, "int16"), (1, 1))) == ()
    assert corner_warnings(Held(np.full((9, 9, 1), 1e38, "float32"), (9, 9)))
    assert corner_warnings(Held(np.zeros((9, 9, 1), "uint16"), (9, 9))) == ()
