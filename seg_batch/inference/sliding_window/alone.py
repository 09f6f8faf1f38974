"""Where one tile alone says what a voxel is: labels are made of the patch while it lies in the cache, and nothing is summed.

Along each axis a tile has a run of such voxels: no other tile has a say, its weight is exactly 1, and no seam is counted
there, for which sums are kept. A voxel that lies in a run along every axis is labelled directly::

    tiles of the axis   ██████████████████████
                                        ██████████████
    planes of seams              |   |   |   |   |
    run of the first    ▒▒▒▒▒▒▒▒
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from seg_batch.core.geometry import Box, Tile
from seg_batch.core.taper import Taper

Run = tuple[int, int]


class Alone:
    """Of the tiles of a block. ``planes``: along each axis, those between whose voxels seams are counted."""

    def __init__(self, taper: Taper, box: Box, planes: Sequence[np.ndarray]) -> None:
        self._runs = [
            {
                i: run
                for i in taper.grid.axes[axis].touching(box.start[axis], box.stop[axis])
                if (run := _run(taper, axis, i, (box.start[axis], box.stop[axis]), planes[axis]))
            }
            for axis in range(len(box.start))
        ]

    def of(self, tile: Tile) -> Box | None:
        """What is labelled directly of a tile; None: nothing."""
        runs = [of_axis.get(i) for of_axis, i in zip(self._runs, tile.index, strict=True)]
        if any(run is None for run in runs):
            return None
        return Box(*zip(*runs, strict=True))  # type: ignore[arg-type]

    def rest(self, box: Box, axis: int = 0) -> Iterator[Box]:
        """What of a box is not, in boxes."""
        if axis == len(box.start):
            return
        for start, stop, alone in self._spans(axis, box.start[axis], box.stop[axis]):
            lead = box.start[:axis], box.stop[:axis]
            tail = box.start[axis + 1 :], box.stop[axis + 1 :]
            part = Box((*lead[0], start, *tail[0]), (*lead[1], stop, *tail[1]))
            if alone:
                yield from self.rest(part, axis + 1)
            else:
                yield part

    def _spans(self, axis: int, start: int, stop: int) -> Iterator[tuple[int, int, bool]]:
        """A stretch of an axis as runs and what lies between them."""
        for first, last in self._runs[axis].values():
            first, last = max(first, start), min(last, stop)
            if first >= last:
                continue
            if start < first:
                yield start, first, False
            yield first, last, True
            start = last
        if start < stop:
            yield start, stop, False


def _run(taper: Taper, axis: int, i: int, span: Run, planes: np.ndarray) -> Run | None:
    """The longest run of tile ``i`` of an axis within a span of it."""
    tiles, row = taper.grid.axes[axis], taper.rows[axis][i]
    start, stop = tiles.trusted(i)
    start = max(start, span[0], tiles.trusted(i - 1)[1] if i else start)
    stop = min(stop, span[1], tiles.trusted(i + 1)[0] if i + 1 < len(tiles.starts) else stop)
    if start >= stop:
        return None
    free = np.zeros(stop - start + 2, bool)
    free[1:-1] = row[start - tiles.firsts[i] : stop - tiles.firsts[i]] == 1
    near = planes[(start <= planes) & (planes <= stop)] - start + 1
    free[near], free[near - 1] = False, False
    ends = np.flatnonzero(free[1:] != free[:-1])
    if not len(ends):
        return None
    k = 2 * int(np.argmax(ends[1::2] - ends[::2]))
    return start + int(ends[k]), start + int(ends[k + 1])
