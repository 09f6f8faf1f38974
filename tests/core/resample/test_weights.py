"""The rows of one axis, against dense matrices and by trying every voxel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg_batch.core.resample import weights
from seg_batch.core.resample.weights import RULES, AxisRows
from tests.support.resampling import dense


@st.composite
def axes(draw: st.DrawFn) -> AxisRows:
    n_in = draw(st.integers(1, 60))
    n_out = draw(st.integers(-(-n_in // 8), min(8 * n_in, 120)))
    return AxisRows(draw(st.sampled_from(RULES)), n_in, n_out)


def matrix(axis: AxisRows) -> np.ndarray:
    rows = np.zeros((axis.n_out, axis.n_in))
    for i, (first, row) in enumerate(zip(axis.first, axis.weights, strict=True)):
        rows[i, first : first + len(row)] += row
    return rows


@settings(max_examples=min(60, settings().max_examples))
@given(axes())
def test_rows_are_those_of_their_definitions(axis: AxisRows) -> None:
    assert axis.weights.dtype == np.float32
    assert axis.first.min() >= 0
    assert axis.first.max() + axis.weights.shape[1] <= axis.n_in
    assert np.allclose(matrix(axis), dense(axis.rule, axis.n_in, axis.n_out), rtol=0, atol=2e-7)


@settings(max_examples=min(60, settings().max_examples))
@given(axes())
def test_bands_hold_every_weight_and_nothing_beside(axis: AxisRows) -> None:
    """A cubic row whose place is a voxel has one weight, and keeps its band, so that bands only rise."""
    for i, row in enumerate(matrix(axis)):
        first, stop = axis.band(i)
        inside = np.arange(axis.n_in)[row != 0]
        assert first <= inside[0]
        assert inside[-1] < stop
        if axis.rule != "cubic":
            assert (first, stop) == (inside[0], inside[-1] + 1)


@settings(max_examples=min(60, settings().max_examples))
@given(axes(), st.data())
def test_needed_and_reached_are_minimal_and_inverse(axis: AxisRows, data: st.DataObject) -> None:
    bands = [range(*axis.band(i)) for i in range(axis.n_out)]
    start = data.draw(st.integers(0, axis.n_out - 1))
    stop = data.draw(st.integers(start + 1, axis.n_out))
    read = {j for i in range(start, stop) for j in bands[i]}
    assert axis.needed(start, stop) == (min(read), max(read) + 1)
    start = data.draw(st.integers(0, axis.n_in - 1))
    stop = data.draw(st.integers(start + 1, axis.n_in))
    readers = [i for i in range(axis.n_out) if set(bands[i]) & set(range(start, stop))]
    first, end = axis.reached(start, stop)
    assert list(range(first, end)) == readers


def test_nothing_is_needed_for_nothing() -> None:
    axis = AxisRows("cubic", 100, 50)
    for at in (0, 20, 50):
        first, stop = axis.needed(at, at)
        assert first == stop


def test_what_a_cubic_row_leaves_out_is_less_than_float32_resolves() -> None:
    """The docstring's 1e-7 of the largest value: against rows of the whole axis, in float64."""
    exact = dense("cubic", 80, 640)
    rows = np.zeros_like(exact)
    for i in range(640):
        first, row = AxisRows("cubic", 80, 640).row(i)
        rows[i, first : first + len(row)] = row
    assert np.abs(rows - exact).sum(1).max() < 1e-7 < np.finfo(np.float32).eps
    assert np.allclose(rows.sum(1), 1, rtol=0, atol=1e-15)


def test_planning_makes_no_arrays() -> None:
    """Even for extents whose rows would fill the memory."""
    weights._arrays.cache_clear()
    axis = AxisRows("cubic", 10**12, 3 * 10**12)
    first, stop = axis.needed(10**12, 10**12 + 3000)
    assert (first, stop) == (333333333333 - 12, 333333334332 + 14)
    assert axis.reached(first, first + 1)[1] > 10**12
    assert weights._arrays.cache_info().currsize == 0


@pytest.mark.parametrize(("rule", "n_in"), [("bicubic", 3), ("linear", 0)])
def test_unknown_rules_and_empty_axes_are_refused(rule: str, n_in: int) -> None:
    with pytest.raises(ValueError):
        AxisRows(rule, n_in, 3)
