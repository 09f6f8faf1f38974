"""Overviews against the obvious: a loop over each 2 x 2."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from seg_batch.io.sinks.cog.overviews import majority_overview, mean_overview

SHAPES = array_shapes(min_dims=2, max_dims=2, max_side=7)


def quads(a: np.ndarray) -> list[tuple[int, int, list[int]]]:
    """Every 2 x 2 with its place; on an odd edge the last row or column twice."""
    height, width = a.shape
    rows = [(y, min(y + 1, height - 1)) for y in range(0, height, 2)]
    columns = [(x, min(x + 1, width - 1)) for x in range(0, width, 2)]
    return [
        (i, j, [int(a[y, x]) for y in ys for x in xs])
        for i, ys in enumerate(rows)
        for j, xs in enumerate(columns)
    ]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@given(data=st.data())
def test_majority_is_a_commonest_label(dtype: type, data: st.DataObject) -> None:
    a = data.draw(arrays(dtype, SHAPES, elements=st.sampled_from([0, 1, 2, 254, 255])))
    found = majority_overview(a)
    assert found.dtype == dtype
    assert found.shape == tuple(-(-n // 2) for n in a.shape)
    for i, j, quad in quads(a):
        counts = Counter(quad)
        assert counts[int(found[i, j])] == max(counts.values())


@given(arrays(np.uint8, SHAPES))
def test_mean_rounds(a: np.ndarray) -> None:
    found = mean_overview(a[None])[0]
    assert [int(found[i, j]) for i, j, _ in quads(a)] == [(sum(q) + 2) // 4 for *_, q in quads(a)]
