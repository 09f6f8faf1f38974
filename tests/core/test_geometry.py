"""Boxes, tiles and blocks against the slow meaning of the words: sets of voxels."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.core.geometry import Axis, Blocks, Box, Grid, recompute_factor
from tests.support.strategies import axes, boxes, grids, grids_with_box, holds, voxels

SMALL = (7, 6)


@st.composite
def any_boxes(draw: st.DrawFn) -> Box:
    """Boxes that may be empty, turned inside out or off the edge."""
    numbers = st.integers(-3, 9)
    pair = st.tuples(numbers, numbers)
    return Box(draw(pair), draw(pair))


@given(any_boxes(), any_boxes())
def test_a_box_is_the_set_of_its_voxels(a: Box, b: Box) -> None:
    ours, theirs = set(voxels(a)), set(voxels(b))
    assert a.size == len(ours)
    assert set(voxels(a.intersection(b))) == ours & theirs
    assert a.touches(b) == b.touches(a) == bool(ours & theirs)
    assert set(voxels(a.shift((2, -1)))) == {(y + 2, x - 1) for y, x in ours}


@given(boxes(SMALL), boxes(SMALL))
def test_the_union_is_the_smallest_box_that_holds_both(a: Box, b: Box) -> None:
    union = a.union(b)
    assert union.contains(a)
    assert union.contains(b)
    both = np.array([*voxels(a), *voxels(b)])
    assert union == Box(tuple(both.min(0)), tuple(both.max(0) + 1))
    assert a.contains(b) == (set(voxels(b)) <= set(voxels(a)))


@given(boxes(SMALL), boxes(SMALL))
def test_slices_pick_the_box_out_of_an_array_that_starts_elsewhere(a: Box, b: Box) -> None:
    address = np.add.outer(10 * np.arange(7), np.arange(6))
    held = a.union(b)
    assert (address[held.slices()][b.slices(held.start)] == address[b.slices()]).all()
    assert address[b.slices()].shape == b.shape


def test_a_box_has_one_rank_and_reads_like_a_slice() -> None:
    with pytest.raises(ValueError, match="differ in rank"):
        Box((0,), (1, 2))
    assert str(Box((0, 4), (8, 9))) == "0:8,4:9"
    assert Box.whole((3, 2)) == Box((0, 0), (3, 2))


@pytest.mark.parametrize(
    ("numbers", "says"),
    [
        ((0, 4, 0, 0), "extent 0"),
        ((9, 0, 0, 0), "patch 0"),
        ((9, 4, 4, 0), "overlap 4"),
        ((9, 4, -1, 0), "overlap -1"),
        ((9, 4, 2, -1), "margin -1"),
        ((9, 4, 2, 2), "overlap of at least 4, not 2"),
    ],
)
def test_an_impossible_axis_is_refused_and_says_why(numbers: tuple[int, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Axis(*numbers)
    with pytest.raises(ValueError, match=says):
        Grid(*((8, n) if i == 0 else (4, n) if i == 1 else (0, n) for i, n in enumerate(numbers)))


def test_a_grid_has_one_rank() -> None:
    with pytest.raises(ValueError, match="must have one rank"):
        Grid((8, 8), (4, 4), (0, 0), (0,))


@given(axes())
def test_tiles_start_a_stride_apart_and_the_last_ends_at_the_extent(axis: Axis) -> None:
    stride, starts = axis.patch - axis.overlap, axis.starts
    assert starts[:-1] == tuple(i * stride for i in range(len(starts) - 1))
    assert starts[0] == 0
    assert starts[-1] == max(0, axis.extent - axis.patch)
    gaps = [b - a for a, b in itertools.pairwise(starts)]
    assert all(0 < gap <= stride for gap in gaps)


@given(axes())
def test_a_margin_is_not_trusted_except_at_the_border(axis: Axis) -> None:
    for i, start in enumerate(axis.starts):
        first, stop = axis.trusted(i)
        assert first == (0 if start == 0 else start + axis.margin)
        end = min(start + axis.patch, axis.extent)
        assert stop == (end if end == axis.extent else end - axis.margin)


@given(grids())
def test_every_voxel_lies_in_a_trusted_tile(grid: Grid) -> None:
    trusted = np.zeros(grid.extent, bool)
    for tile in grid:
        trusted[tile.trusted.slices()] = True
        assert tile.box.contains(tile.trusted)
        assert tile.box.shape == grid.patch
    assert trusted.all()


@given(grids())
def test_a_grid_is_all_its_tiles_in_row_major_order(grid: Grid) -> None:
    tiles = list(grid)
    assert len(tiles) == len(grid)
    assert [tile.index for tile in tiles] == list(np.ndindex(grid.shape))
    assert [tile.box.start for tile in tiles] == sorted(tile.box.start for tile in tiles)


@given(grids_with_box())
def test_touching_count_and_window_agree_with_a_look_at_every_tile(drawn: tuple[Grid, Box]) -> None:
    grid, box = drawn
    slow = [tile for tile in grid if any(holds(tile.trusted, voxel) for voxel in voxels(box))]
    assert list(grid.touching(box)) == slow
    assert grid.count(box) == len(slow)
    window = slow[0].box
    for tile in slow:
        window = window.union(tile.box)
    assert grid.window(box) == window.intersection(Box.whole(grid.extent))
    assert grid.window(box).contains(box)


@st.composite
def grids_with_blocks(draw: st.DrawFn) -> tuple[Grid, Blocks]:
    grid = draw(grids())
    return grid, Blocks(grid.extent, tuple(draw(st.integers(1, n + 3)) for n in grid.extent))


@given(grids_with_blocks())
def test_blocks_cover_each_voxel_once_in_row_major_order(drawn: tuple[Grid, Blocks]) -> None:
    grid, blocks = drawn
    owners = np.zeros(grid.extent, int)
    for block in blocks:
        owners[block.box.slices()] += 1
        assert block == blocks.block(block.index)
    assert (owners == 1).all()
    assert [b.index for b in blocks] == list(np.ndindex(blocks.counts))
    assert len({b.name for b in blocks}) == len(list(blocks)) == len(blocks)


@given(grids_with_blocks())
def test_the_recompute_factor_counts_what_every_block_predicts(drawn: tuple[Grid, Blocks]) -> None:
    grid, blocks = drawn
    predicted = sum(1 for block in blocks for _ in grid.touching(block.box))
    assert recompute_factor(grid, blocks) == pytest.approx(predicted / len(grid))


def test_blocks_that_do_not_fit_are_refused() -> None:
    for shape in ((4,), (4, 0)):
        with pytest.raises(ValueError, match="do not fit"):
            Blocks((8, 8), shape)


@pytest.mark.parametrize(
    ("side", "factor"), [(1024, 1.40), (2048, 1.18), (4096, 1.08)]
)  # design section 5
def test_larger_blocks_recompute_less(side: int, factor: float) -> None:
    grid = Grid((20000, 20000), (256, 256), (64, 64), (0, 0))
    assert recompute_factor(grid, Blocks(grid.extent, (side, side))) == pytest.approx(
        factor, abs=0.011
    )


def test_a_box_grows_on_every_side_and_has_a_middle() -> None:
    box = Box.at((3, 4), (5, 2))
    assert box == Box((3, 4), (8, 6))
    assert box.grown((2, 0)) == Box((1, 4), (10, 6))
    assert box.grown((9, 9)).shape == (23, 20), "whatever the extent is"
    assert box.middle((3, 9)) == Box((4, 4), (7, 6))
