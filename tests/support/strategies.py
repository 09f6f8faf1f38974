"""What the tests of the core draw from: axes, grids and boxes of every awkward size."""

import itertools
from collections.abc import Iterator

from hypothesis import strategies as st

from seg_batch.core.geometry import Axis, Box, Grid, Shape

LONGEST = {1: 60, 2: 30, 3: 12}  # so that the slow references stay bearable


@st.composite
def axes(draw: st.DrawFn, longest: int = 60) -> Axis:
    extent = draw(st.integers(1, longest))
    patch = draw(st.integers(1, max(2, longest // 2)))
    overlap = draw(st.integers(0, patch - 1))
    return Axis(extent, patch, overlap, draw(st.integers(0, overlap // 2)))


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    rank = draw(st.integers(1, 3))
    sides = [draw(axes(LONGEST[rank])) for _ in range(rank)]
    fields = ("extent", "patch", "overlap", "margin")
    return Grid(*(tuple(getattr(side, name) for side in sides) for name in fields))


@st.composite
def boxes(draw: st.DrawFn, extent: Shape) -> Box:
    """A box inside ``extent`` with at least one voxel."""
    start = tuple(draw(st.integers(0, n - 1)) for n in extent)
    stop = tuple(draw(st.integers(a + 1, n)) for a, n in zip(start, extent, strict=True))
    return Box(start, stop)


@st.composite
def grids_with_box(draw: st.DrawFn) -> tuple[Grid, Box]:
    grid = draw(grids())
    return grid, draw(boxes(grid.extent))


def voxels(box: Box) -> Iterator[Shape]:
    """The slow, obvious meaning of a box: all its voxels, one by one."""
    return itertools.product(*map(range, box.start, box.stop))


def holds(box: Box, voxel: Shape) -> bool:
    return all(a <= v < b for a, v, b in zip(box.start, voxel, box.stop, strict=True))
