"""Grids whose edges need not coincide: against sums written out, and the same bits in any box."""

from fractions import Fraction

import numpy as np
import pytest

from seg_batch.core.geometry import Box
from seg_batch.core.resample.placed import PlacedResampler, PlacedRows
from seg_batch.core.resample.weights import RULES, AxisRows

# Edges that coincide, centres that do (Landsat's panchromatic band), a part of a larger one, one that holds a smaller one.
PLACES = {
    "finer": (10, 30, (10, 0, 30)),
    "coarser": (30, 10, (30, 0, 10)),
    "uneven": (9, 14, (9, 0, 14)),
    "centres": (10, 19, (18, 9, 36)),
    "centres down": (19, 10, (36, -9, 18)),
    "part": (20, 12, (6, 4 * 12, 12)),
    "within": (5, 40, (5, -5 * 10, 20)),
}


def _centre(i: int, place: tuple[int, int, int]) -> Fraction:
    """Where the centre of an output lies, in pixels of the input from its outer edge."""
    step, shift, parts = place
    return (Fraction(2 * i + 1, 2) * step + shift) / parts


def _reference(rule: str, n: int, i: int, place: tuple[int, int, int]) -> np.ndarray:
    """The weights of all inputs, one after the other."""
    step, shift, parts = place
    weights, x = np.zeros(n), _centre(i, place)
    if rule == "nearest":
        weights[int(x)] = 1
    elif rule == "linear":
        before = (x - Fraction(1, 2)).__floor__()
        beyond = float(x - Fraction(1, 2) - before)
        weights[min(max(before, 0), n - 1)] += 1 - beyond
        weights[min(max(before + 1, 0), n - 1)] += beyond
    else:
        low, high = Fraction(i * step + shift, parts), Fraction((i + 1) * step + shift, parts)
        for j in range(n):
            weights[j] = max(Fraction(0), min(high, j + 1) - max(low, j))
        weights /= weights.sum()
    return weights


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("rule", ["nearest", "linear", "area"])
def test_weights_are_those_written_out(rule: str, place: str) -> None:
    n, m, placing = PLACES[place]
    axis = PlacedRows(rule, n, m, *placing)
    first, stop = axis.inside
    assert [i for i in range(m) if 0 <= _centre(i, placing) < n] == [*range(first, stop)]
    for i in range(first, stop):
        begin, weights = axis.row(i)
        full = np.zeros(n)
        full[begin : begin + len(weights)] = weights
        np.testing.assert_allclose(full, _reference(rule, n, i, placing), atol=1e-12)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("place", ["finer", "coarser", "uneven"])
def test_edges_that_coincide_are_the_rows_of_the_core(rule: str, place: str) -> None:
    n, m, placing = PLACES[place]
    ours, core = PlacedRows(rule, n, m, *placing), AxisRows(rule, n, m)
    assert ours.inside == (0, m)
    for i in range(m):
        assert ours.row(i)[0] == core.row(i)[0]
        np.testing.assert_array_equal(ours.row(i)[1], core.row(i)[1])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("place", PLACES)
def test_boxes_have_the_bits_of_the_whole(rule: str, place: str) -> None:
    n, m, placing = PLACES[place]
    across = (16, 24, (16, 0, 24))
    way = PlacedResampler((n, across[0]), (m, across[1]), (rule, rule), (placing, across[2]))
    rng = np.random.default_rng(3)
    values = rng.normal(size=(n, across[0], 2)).astype(np.float32)
    valid = rng.random(values.shape) > 0.1
    whole = way.inside
    window = way.needed(whole)
    sums, known = way(values[window.slices((0, 0))], valid[window.slices((0, 0))], window, whole)
    for _ in range(12):
        start = [int(rng.integers(a, b)) for a, b in zip(whole.start, whole.stop, strict=True)]
        stop = [int(rng.integers(a + 1, b + 1)) for a, b in zip(start, whole.stop, strict=True)]
        box = Box(tuple(start), tuple(stop))
        need = way.needed(box)
        part, there = way(values[need.slices((0, 0))], valid[need.slices((0, 0))], need, box)
        at = box.slices(whole.start)
        np.testing.assert_array_equal(part, sums[at])
        np.testing.assert_array_equal(True if there is None else there, known[at])
