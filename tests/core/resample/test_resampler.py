"""The laws of resampling: any block has the bits of the whole, constants stay, holes do not spread."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg_batch.core.geometry import Box
from seg_batch.core.resample import kernels, passes, resampler, row_band
from seg_batch.core.resample.resampler import MISSING_MOST, Resampler
from tests.support.resampling import dense_sums, resamplers, slow_sums

CONVEX = ("nearest", "linear", "area")


# Sums of every example are made in Python, too, or block by block.
some_examples = settings(max_examples=min(60, settings().max_examples))


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small images are cut as large ones are."""
    monkeypatch.setattr(passes, "PIECE_BYTES", 40)
    monkeypatch.setattr(resampler, "ROWS_BYTES", 200)
    monkeypatch.setattr(row_band, "SPARE_BYTES", 40)


pytestmark = pytest.mark.usefixtures("small_pieces")


@st.composite
def images(
    draw: st.DrawFn, of: Resampler, holes: bool = True
) -> tuple[np.ndarray, np.ndarray | None]:
    """Values over the source of a resampling, some of them NaN or infinite, and a mask or none."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (*of.source, draw(st.integers(1, 3)))
    values = rng.normal(100, 50, shape).astype(draw(st.sampled_from(["f4", "f8", "i2"])))
    values[rng.random(shape) < 0.1] = -0.0
    valid = None
    if holes and values.dtype.kind == "f" and draw(st.booleans()):
        values[rng.random(shape) < 0.1] = draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    if holes and draw(st.booleans()):
        valid = rng.random(shape) < draw(st.sampled_from([0.2, 0.9, 1.0]))
    return values, valid


@st.composite
def boxes(draw: st.DrawFn, inside: Box, around: Box | None = None) -> Box:
    """A box inside one and, where it is given, around another."""
    starts, stops = [], []
    for k, (a, b) in enumerate(zip(inside.start, inside.stop, strict=True)):
        start = draw(st.integers(a, around.start[k] if around else b - 1))
        starts.append(start)
        stops.append(draw(st.integers(around.stop[k] if around else start + 1, b)))
    return Box(tuple(starts), tuple(stops))


def whole(of: Resampler, values: np.ndarray, valid: np.ndarray | None = None):  # type: ignore[no-untyped-def]
    return of(values, valid, Box.whole(of.source), Box.whole(of.target))


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype == np.float32 and np.array_equal(a.view("i4"), b.view("i4"))


def everywhere(valid: np.ndarray | None, sums: np.ndarray) -> np.ndarray:
    return np.ones(sums.shape, bool) if valid is None else valid


@some_examples
@given(st.data())
def test_sums_are_those_of_dense_matrices(data: st.DataObject) -> None:
    of = data.draw(resamplers())
    values, _ = data.draw(images(of, holes=False))
    sums, valid = whole(of, values)
    assert valid is None
    assert np.allclose(sums, dense_sums(of, values), rtol=0, atol=2e-6 * 300)


@some_examples
@given(st.data())
def test_bits_are_those_of_plain_numpy(data: st.DataObject) -> None:
    of = data.draw(resamplers())
    values, mask = data.draw(images(of))
    sums, valid = whole(of, values, mask)
    slow, missing = slow_sums(of, values, mask)
    slow_valid = missing <= MISSING_MOST
    assert same_bits(sums, np.where(slow_valid, slow, np.float32(0)))
    assert np.array_equal(everywhere(valid, sums), slow_valid)


@some_examples
@given(st.data())
def test_a_block_has_the_bits_of_the_whole_from_any_window(data: st.DataObject) -> None:
    of = data.draw(resamplers())
    values, mask = data.draw(images(of))
    sums, valid = whole(of, values, mask)
    box = data.draw(boxes(Box.whole(of.target)))
    window = data.draw(boxes(Box.whole(of.source), of.needed(box)))
    here = window.slices()
    block, block_valid = of(values[here], None if mask is None else mask[here], window, box)
    assert same_bits(block, sums[box.slices()])
    assert np.array_equal(everywhere(block_valid, block), everywhere(valid, sums)[box.slices()])


@some_examples
@given(st.data())
def test_a_constant_stays_what_it_is(data: st.DataObject) -> None:
    of = data.draw(resamplers())
    constant = np.float32(data.draw(st.floats(-(2**100), 2**100, width=32)))
    _, mask = data.draw(images(of))
    values = np.full((*of.source, 1 if mask is None else mask.shape[-1]), constant)
    sums, valid = whole(of, values, mask)
    assert np.all((sums if valid is None else sums[valid]) == constant)


@some_examples
@given(st.data())
def test_holes_are_left_out_of_the_sums_and_do_not_spread(data: st.DataObject) -> None:
    of = data.draw(resamplers(CONVEX))
    values, mask = data.draw(images(of))
    held = np.isfinite(values) & (True if mask is None else mask)
    sums, valid = whole(of, values, mask)
    weight = dense_sums(of, held)
    filled = dense_sums(of, np.where(held, values, 0))
    valid = everywhere(valid, sums)
    sure = abs(weight - 0.5) > 1e-4  # ties: another test
    assert np.array_equal(valid[sure], (weight > 0.5)[sure])
    assert np.allclose(sums[valid], (filled[valid] / weight[valid]), rtol=0, atol=1e-3)
    assert not sums[~valid].any()


@some_examples
@given(st.data())
def test_cubic_is_linear_where_its_band_holds_a_hole(data: st.DataObject) -> None:
    """Nothing blows up: a renormalised sum with negative weights could."""
    source = data.draw(st.integers(1, 60))
    target = data.draw(st.integers(-(-source // 8), 2 * source).filter(lambda n: n != source))
    cubic, linear = (Resampler((source,), (target,), (rule,)) for rule in ("cubic", "linear"))
    values, mask = data.draw(images(cubic))
    held = np.isfinite(values) & (True if mask is None else mask)
    bands = [slice(*cubic.axes[0].band(i)) for i in range(target)]
    whole_band = np.stack([held[band].all(0) for band in bands])
    sums, valid = whole(cubic, values, mask)
    soft, soft_valid = whole(linear, values, mask)
    without, _ = whole(cubic, np.where(held, values, 0), None)
    assert np.allclose(sums, np.where(whole_band, without, soft), rtol=0, atol=1e-3)
    assert np.array_equal(everywhere(valid, sums), everywhere(soft_valid, sums))


def test_half_of_the_weight_is_enough() -> None:
    of = Resampler((12, 12), (2, 6), ("area", "area"))
    values = np.ones((12, 12, 1))
    mask = np.ones(values.shape, bool)
    mask[:3] = False
    assert whole(of, values, mask)[1].all()
    mask[3, 0] = False
    assert not whole(of, values, mask)[1][0, 0, 0]


@some_examples
@given(st.data())
def test_rows_that_arrive_give_the_bits_of_the_whole(data: st.DataObject) -> None:
    of = data.draw(resamplers())
    values = data.draw(images(of, holes=False))[0].astype(np.float32)
    box = data.draw(boxes(Box.whole(of.target)))
    need = of.needed(box)
    cuts = data.draw(st.lists(st.integers(need.start[0], need.stop[0])))
    edges = sorted({need.start[0], *cuts, need.stop[0]})
    buffer = np.empty_like(values)

    def parts() -> Iterator[tuple[int, np.ndarray]]:
        for a, b in itertools.pairwise(edges):
            rows = buffer[: b - a][(slice(None), *need.slices()[1:])]
            rows[...] = values[(slice(a, b), *need.slices()[1:])]
            yield a, rows
            buffer[...] = np.nan  # a part is valid only until the next

    rolled, row = np.empty((*box.shape, values.shape[-1]), np.float32), box.start[0]
    for first, rows in of.roll(parts(), box):
        assert first == row
        row += len(rows)
        rolled[first - box.start[0] : row - box.start[0]] = rows
        rows[...] = np.nan
    assert row == box.stop[0]
    assert same_bits(rolled, whole(of, values)[0][box.slices()])


def test_the_last_voxel_is_included_and_edges_coincide() -> None:
    ramp = np.arange(8, dtype=np.float32)[:, None]
    assert whole(Resampler((8,), (4,), ("area",)), ramp)[0][:, 0].tolist() == [0.5, 2.5, 4.5, 6.5]
    assert whole(Resampler((8,), (4,), ("linear",)), ramp)[0][:, 0].tolist() == [0.5, 2.5, 4.5, 6.5]
    fine = whole(Resampler((8,), (16,), ("linear",)), ramp)[0][:, 0]
    assert fine.tolist() == [0, *np.arange(0.25, 7, 0.5).tolist(), 7]
    assert whole(Resampler((3,), (6,), ("nearest",)), ramp[:3])[0][:, 0].tolist() == [
        0,
        0,
        1,
        1,
        2,
        2,
    ]


def test_kernels_work_where_no_folder_can_be_written() -> None:
    """What has no file has no place for its machine code either, and numba refuses to keep it."""
    names: dict[str, Any] = {}
    exec("def double(x):\n    return 2 * x", names)
    assert kernels.kernel(names["double"])(3.5) == 7


def test_blocks_of_several_threads_are_those_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an image that has several pieces as they are."""
    of = Resampler((70, 80, 60), (81, 73, 90), ("cubic", "area", "linear"))
    values = np.random.default_rng(1).normal(size=(*of.source, 2))
    values[20:30, 20:30, 20:30] = np.nan
    monkeypatch.undo()
    sums, valid = whole(of, values)
    boxes = [Box((i, 10, 5), (min(i + 25, 81), 70, 90)) for i in range(0, 81, 25)]
    with ThreadPoolExecutor(4) as threads:
        blocks = threads.map(lambda box: of(values, None, Box.whole(of.source), box), boxes)
        for box, (block, block_valid) in zip(boxes, blocks, strict=True):
            assert same_bits(block, sums[box.slices()])
            assert np.array_equal(everywhere(block_valid, block), valid[box.slices()])


def test_a_window_that_is_too_small_is_refused() -> None:
    of = Resampler((8, 8), (4, 4), ("linear", "linear"))
    box = Box((0, 0), (2, 2))
    window = Box((0, 0), (3, 4))
    with pytest.raises(ValueError, match=r"0:2,0:2 needs 0:4,0:4"):
        of(np.zeros((*window.shape, 1)), None, window, box)
