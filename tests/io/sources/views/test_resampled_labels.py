"""Labels on another grid: the largest share wins, thin classes stay, and no box changes a bit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label as objects
from scipy.ndimage import maximum_filter, zoom

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box, Shape
from seg_batch.core.georef import RasterGeoref, VolumeGeoref
from seg_batch.core.normalise import Pixels
from seg_batch.io.sources.protocol import SourceInfo
from seg_batch.io.sources.views.model_grid import ModelGrid
from seg_batch.io.sources.views.resampled_labels import MOST_CLASSES, ResampledLabels

PIXELS = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
VOXELS: Any = tuple(tuple(row) for row in np.eye(4).tolist())


class Held:
    """A label image in memory."""

    def __init__(self, values: np.ndarray, valid: np.ndarray | None = None) -> None:
        self.values, self.valid = values[..., None], None if valid is None else valid[..., None]
        place = RasterGeoref(None, PIXELS) if values.ndim == 2 else VolumeGeoref(VOXELS)
        kind, shape = place.kind, values.shape
        self.info = SourceInfo(
            "labels", "held", kind, shape, ("label",), str(values.dtype), place, shape
        )

    def read(self, box: Box) -> Pixels:
        where = box.slices()
        return Pixels(self.values[where], None if self.valid is None else self.valid[where])

    def close(self) -> None: ...


def seen(
    values: np.ndarray,
    target: Shape,
    rules: tuple[str, ...] = (),
    valid: np.ndarray | None = None,
) -> ResampledLabels:
    rules = rules or ("cubic",) * values.ndim  # whatever an image comes by, labels come by shares
    sizes = (1.0,) * values.ndim
    grid = ModelGrid(values.shape, target, rules, rules, sizes, sizes, "mm")
    return ResampledLabels(Held(values, valid), grid)


def whole(view: ResampledLabels) -> np.ndarray:
    return view.read(Box.whole(view.info.extent)).values[..., 0]


def shrunk(values: np.ndarray, ratio: float) -> np.ndarray:
    return whole(seen(values, tuple(round(n / ratio) for n in values.shape)))


@st.composite
def fields(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray | None, Shape, tuple[str, ...]]:
    """Random labels in lumps, some of them missing, and another grid."""
    rank = draw(st.integers(2, 3))
    shape = tuple(draw(st.integers(1, 18)) for _ in range(rank))
    target = tuple(max(1, round(n * draw(st.floats(0.25, 4)))) for n in shape)
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    values = rng.choice(np.array([0, 3, 200], np.uint8), shape, p=[0.6, 0.3, 0.1])
    valid = rng.random(shape) < 0.8 if draw(st.booleans()) else None
    rules = tuple(draw(st.sampled_from(["cubic", "nearest", "area"])) for _ in shape)
    return values, valid, target, rules


@pytest.mark.full
@given(fields(), st.data())
@settings(max_examples=40, deadline=None)
def test_any_box_holds_the_bits_of_the_whole(field: Any, data: st.DataObject) -> None:
    values, valid, target, rules = field
    view = seen(values, target, rules, valid)
    pixels = view.read(Box.whole(target))
    start = tuple(data.draw(st.integers(0, n - 1)) for n in target)
    stop = tuple(data.draw(st.integers(a + 1, n)) for a, n in zip(start, target, strict=True))
    part, box = view.read(Box(start, stop)), Box(start, stop)
    held = np.ones(target, bool) if pixels.valid is None else pixels.valid[..., 0]
    mine = np.ones(box.shape, bool) if part.valid is None else part.valid[..., 0]
    np.testing.assert_array_equal(part.values[..., 0], pixels.values[box.slices()][..., 0])
    np.testing.assert_array_equal(mine, held[box.slices()])
    assert str(part.values.dtype) == view.info.dtype == "uint8"
    assert {*np.unique(part.values[..., 0][mine])} <= {*np.unique(values)}


@pytest.mark.full
def test_finer_labels_are_those_of_the_largest_linear_share() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 3, (5, 6, 4)).repeat(2, 0).repeat(2, 1).repeat(2, 2).astype(np.uint8)
    shares = np.stack(
        [zoom((values == k) * 1.0, 3, order=1, mode="nearest", grid_mode=True) for k in range(3)]
    )
    first, second = np.sort(shares, 0)[:-3:-1]
    sure = first - second > 1e-3
    assert sure.mean() > 0.8
    found = whole(seen(values, tuple(3 * n for n in values.shape)))
    np.testing.assert_array_equal(found[sure], shares.argmax(0)[sure])


def test_coarser_labels_are_those_of_the_largest_area() -> None:
    rng = np.random.default_rng(1)
    lumps = zoom(rng.standard_normal((3, 3, 3)), 10, order=1)
    values = np.digitize(lumps, [-0.3, 0.4]).astype(np.uint8)  # smooth, so nothing in it is thin
    cells = values.reshape(10, 3, 10, 3, 10, 3).transpose(0, 2, 4, 1, 3, 5).reshape(10, 10, 10, 27)
    counts = np.stack([(cells == k).sum(-1) for k in range(3)])
    found, most = shrunk(values, 3), counts.argmax(0)
    other = (found != most) & (counts.max(0) >= 14)
    assert other.mean() < 0.005
    for k in range(3):
        assert not maximum_filter(most == k, 3)[other & (found == k)].any(), "lost there"


@pytest.mark.parametrize("ratio", [1.25, 1.5, 2, 2.7, 4])
def test_thin_sheets_and_lines_are_not_lost(ratio: float) -> None:
    n = 40
    for place in (7, 22):
        for axis in range(3):
            sheet = np.zeros((n, n, n), np.uint8)
            np.moveaxis(sheet, axis, 0)[place] = 1
            found = np.moveaxis(shrunk(sheet, ratio), axis, 0)
            assert found.any(0).all(), "a sheet has no hole"
            assert found.sum() <= 2 * found[0].size, "and is not thick"
            line = np.zeros((n, n, n), np.uint8)
            np.moveaxis(line, axis, 0)[:, place, 25] = 1
            found = np.moveaxis(shrunk(line, ratio), axis, 0)
            assert found.any((1, 2)).all()
            assert objects(found, np.ones((3, 3, 3)))[1] == 1
            assert found.sum() <= 4 * len(found)
    road = np.zeros((60, 60), np.uint8)
    road[np.arange(60), np.arange(60) // 2 + 9] = 1
    found = shrunk(road, ratio)
    rows = np.flatnonzero(found.any(1))
    assert np.diff(rows, prepend=-1, append=len(found)).max() <= 3, (
        "no gap is longer than two pixels"
    )
    oblique = (np.subtract.outer(np.arange(60), 0.4 * np.arange(60)).round() == 11).astype(np.uint8)
    assert 0.4 < shrunk(oblique, ratio).sum() * ratio**2 / oblique.sum() < 1.5 * ratio


@pytest.mark.parametrize("finer", [1.05, 1.2, 1.5, 2, 3, 5])
def test_thin_classes_stay_on_a_finer_grid(finer: float) -> None:
    line = np.zeros((20, 20, 20), np.uint8)
    line[11, 7] = 1
    sheet = np.zeros((20, 20, 20), np.uint8)
    sheet[:, 13] = 1
    assert shrunk(line, 1 / finer).any((0, 1)).all()
    assert shrunk(sheet, 1 / finer).any(1).all()


@pytest.mark.parametrize("ratio", [0.4, 0.8, 1.3, 2, 2.6, 4])
def test_thick_objects_keep_their_volume_and_grow_no_specks(ratio: float) -> None:
    z, y, x = np.indices((48, 50, 46))
    ball = (((z - 21.3) ** 2 + (y - 24) ** 2 + (x - 23.7) ** 2) < 17**2).astype(np.uint8)
    ball[(z - 21) ** 2 + (y - 24) ** 2 + (x - 23) ** 2 < 11**2] = 2
    found = shrunk(ball, ratio)
    cell = ball.size / found.size
    for k in (1, 2):
        assert (found == k).sum() * cell == pytest.approx((ball == k).sum(), rel=0.05)
        assert objects(found == k)[1] == 1


@pytest.mark.parametrize("finer", [2, 3, 4])
def test_finer_and_back_gives_the_labels_again(finer: int) -> None:
    rng = np.random.default_rng(2)
    values = rng.integers(0, 4, (6, 5, 4)).repeat(3, 0).repeat(2, 1).repeat(3, 2).astype(np.uint8)
    there = whole(seen(values, tuple(n * finer for n in values.shape)))
    np.testing.assert_array_equal(whole(seen(there, values.shape)), values)


def test_a_speck_is_not_blown_up_to_a_voxel() -> None:
    speck = np.zeros((24, 24, 24), np.uint8)
    speck[9, 9, 9] = 1
    assert not shrunk(speck, 4).any()
    assert shrunk(speck, 0.5).sum() == 8


def test_slices_that_stay_are_seen_one_by_one() -> None:
    rng = np.random.default_rng(3)
    values = (rng.random((4, 24, 24)) < 0.2).astype(np.uint8)
    stack = whole(seen(values, (4, 10, 10)))
    for k in range(4):
        np.testing.assert_array_equal(stack[k], whole(seen(values[k], (10, 10))))


def test_thick_slices_are_taken_whole() -> None:
    values = np.random.default_rng(4).integers(0, 2, (3, 8, 8)).astype(np.uint8)
    found = whole(seen(values, (12, 8, 8), ("nearest", "cubic", "cubic")))
    np.testing.assert_array_equal(found, values.repeat(4, 0))


def test_what_is_missing_is_a_class_and_fractions_are_values() -> None:
    values = np.full((8, 8), 0.5, np.float32)
    values[:, 4:] = 2.25
    values[6:] = np.nan
    valid = np.ones((8, 8), bool)
    valid[:2] = False
    pixels = seen(values, (4, 4), valid=valid).read(Box.whole((4, 4)))
    assert pixels.valid is not None
    np.testing.assert_array_equal(
        pixels.valid[..., 0], [[False] * 4, [True] * 4, [True] * 4, [False] * 4]
    )
    np.testing.assert_array_equal(pixels.values[1:3, :, 0], [[0.5, 0.5, 2.25, 2.25]] * 2)


def test_one_slice_one_voxel_and_one_value_are_seen() -> None:
    one = np.full((1, 6, 6), 9, np.int16)
    assert (whole(seen(one, (3, 3, 13))) == 9).all()
    assert whole(seen(np.array([[4]], np.uint8), (1, 1)))[0, 0] == 4


def test_measurements_are_refused() -> None:
    side = math.isqrt(MOST_CLASSES) + 1
    values = np.arange(side * side, dtype=np.int32).reshape(side, side)
    with pytest.raises(InputError, match="numbered objects or measurements"):
        whole(seen(values, (40, 40)))
