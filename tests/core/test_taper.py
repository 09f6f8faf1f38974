"""Law 1 against a slow reference: weights in float64, tile by tile, voxel by voxel."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.core.geometry import Axis, Grid
from seg_batch.core.taper import TAPERS, Taper, rows
from tests.support.strategies import axes, grids

tapers = st.sampled_from(TAPERS)

# The profiles once more, from their definitions: u in (0, 1) across the patch.
SLOW: dict[str, Callable[[float], float]] = {
    "hann": lambda u: 0.5 - 0.5 * math.cos(2 * math.pi * u),
    "gaussian": lambda u: math.exp(-((u - 0.5) ** 2) / (2 * 0.125**2)),
    "linear": lambda u: 2 * min(u, 1 - u),
    "constant": lambda u: 1.0,
}


def slow_row(axis: Axis, name: str, i: int, v: int) -> float:
    """The weight of tile ``i`` at voxel ``v``, from the formula in the module's docstring."""

    def raw(k: int) -> float:
        first, stop = axis.trusted(k)
        u = (v - axis.starts[k] + 0.5) / axis.patch
        return SLOW[name](u) if first <= v < stop else 0.0

    return raw(i) / math.fsum(raw(k) for k in range(len(axis.starts)))


@given(grids(), tapers)
def test_tapers_sum_to_one_at_every_voxel(grid: Grid, name: str) -> None:
    taper, total = Taper(grid, name), np.zeros(grid.extent)
    for tile in grid:
        inside = tuple(
            slice(a, min(b, n))
            for a, b, n in zip(tile.box.start, tile.box.stop, grid.extent, strict=True)
        )
        total[inside] += taper.weights(tile)
    np.testing.assert_allclose(total, 1, rtol=0, atol=1e-6)


@given(grids(), tapers)
def test_weights_are_zero_where_a_tile_is_not_trusted(grid: Grid, name: str) -> None:
    taper = Taper(grid, name)
    for tile in grid:
        weights = taper.weights(tile)
        assert weights.dtype == np.float32
        assert weights.min() >= 0
        outside = np.ones(weights.shape, bool)
        outside[tile.trusted.slices(tile.box.start)] = False
        assert not weights[outside].any()


@given(axes(40), st.sampled_from(sorted(SLOW)))
def test_rows_equal_the_formula(axis: Axis, name: str) -> None:
    for i, row in enumerate(rows(axis, name)):
        start = axis.starts[i]
        slow = [slow_row(axis, name, i, v) for v in range(start, start + len(row))]
        np.testing.assert_allclose(row, slow, rtol=1e-5, atol=1e-7)


@given(axes(40))
def test_crop_gives_each_voxel_to_one_tile_with_the_seam_mid_overlap(axis: Axis) -> None:
    made = rows(axis, "crop")
    assert {float(w) for row in made for w in row} <= {0.0, 1.0}
    for i in range(1, len(axis.starts)):
        lap = axis.starts[i - 1] + axis.patch - axis.starts[i]
        assert np.flatnonzero(made[i])[0] == lap // 2


@given(grids(), tapers)
def test_a_taper_is_the_outer_product_of_its_rows(grid: Grid, name: str) -> None:
    taper = Taper(grid, name)
    for tile in grid:
        product = np.ones((), np.float32)
        for axis, i in zip(grid.axes, tile.index, strict=True):
            product = np.multiply.outer(product, rows(axis, name)[i])
        np.testing.assert_array_equal(taper.weights(tile), product)


def test_tiles_away_from_the_border_share_one_array_that_nobody_can_change() -> None:
    grid = Grid((400, 400), (32, 32), (8, 8), (2, 2))
    taper = Taper(grid)
    a, b = taper.weights(grid.tile((3, 3))), taper.weights(grid.tile((5, 7)))
    assert a is b
    with pytest.raises(ValueError, match="read-only"):
        a[0, 0] = 1


def test_an_unknown_taper_is_refused_with_the_list_of_known_ones() -> None:
    with pytest.raises(ValueError, match="hann, gaussian, nnunet, linear, constant, crop"):
        Taper(Grid((8,), (4,), (2,), (0,)), "boxcar")
