"""The rolling sum of one block: a ring of as many rows as a patch has, of all classes.

Rows that no later tile touches are finished: they are handed out, and rows to come take their place::

    tiles of row i      ████████████████          rows above the next tile row's
    tiles of row i+1        ████████████████      start are finished
                        ^^^^ handed out

Tiles come in grid order, so the voxels that a tile is the first to touch are the end of it along every axis.
There the ring is overwritten: nothing has to be cleared, and nothing moves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from seg_batch.core.errors import SegbatchError
from seg_batch.core.geometry import Box, Shape, Tile
from seg_batch.core.taper import Taper
from seg_batch.inference.sliding_window import plain_sums

_ONE = np.ones(1, np.float32)
_NOT_ALONE = (0, 0, 0, 0, 0, 0)
_TAKEN = (np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.uint8))


def loops(values: int) -> Any:
    """The functions for a block of so many sums: machine code, or NumPy where there are few."""
    if values <= plain_sums.SMALL:
        return plain_sums
    from seg_batch.core.kernels import sums

    return sums


def as_lines(array: np.ndarray, lead: int = 0) -> np.ndarray:
    """``(rows, *width)`` after ``lead`` axes as rows, lines and columns: a row of an image is one line, of a volume a slice."""
    return array if array.ndim - lead == 3 else np.expand_dims(array, lead + 1)


def in_lines(sums: np.ndarray) -> np.ndarray:
    """Sums ``(rows, *width, classes)`` as ``(rows, classes, lines, columns)``, contiguous: those of a band lie so."""
    return np.ascontiguousarray(as_lines(np.moveaxis(sums, -1, 1), 1))


def of_lines[T](along: Sequence[T], of_one: T) -> tuple[T, ...]:
    """What is along each axis of a box for rows, lines and columns; ``of_one``: for the one line of an image."""
    return (along[0], *(along[1:-1] or [of_one]), along[-1])


def place_of(box: Box, origin: Box, steps: Shape) -> int:
    """The first voxel of a box in flat values that begin with that of ``origin``; ``steps``: how far apart classes, rows,
    lines and columns are."""
    away = [a - b for a, b in zip(box.start, origin.start, strict=True)]
    return sum(n * step for n, step in zip(of_lines(away, 0), steps[1:], strict=True))


def require_finite(finite: bool) -> None:
    """SegbatchError where values are not finite: as labels they would all be the first."""
    if not finite:
        raise SegbatchError(
            "the model gave values that are not finite, of which no labels can be made: its "
            "weights are damaged, or the input is far from what it was trained on"
        )


# Labels what needs no sums of a tile with these flat values (None: an empty one), and says which box that was.
Direct = Callable[[Tile, np.ndarray | None, Shape], Box | None]


class Band:
    """The sums of ``box``, float32, in memory ``(rows, classes, lines, columns)``. ``direct``: labels what of a tile needs
    no sums; None: everything is summed."""

    def __init__(self, taper: Taper, box: Box, classes: int, direct: Direct | None = None) -> None:
        self.taper, self.box, self.top = taper, box, box.start[0]
        depth = min(taper.grid.patch[0], box.shape[0])
        self._ring = np.empty((depth, classes, *of_lines(box.shape, 1)[1:]), np.float32)
        self._loops, self._direct = loops(box.size * classes), direct

    def add(self, tile: Tile, probabilities: np.ndarray | None) -> None:
        """Add the ``(*patch, classes)`` of a tile, times its taper; None: zeros.

        SegbatchError where a value is not finite, of which no label could be made.
        """
        inside = tile.trusted.intersection(self.box)
        fresh = self._fresh(tile, inside)
        if probabilities is None:
            self._clear(fresh, inside)
            if self._direct is not None:
                self._direct(tile, None, ())
            return
        firsts = (a.firsts[i] for a, i in zip(self.taper.grid.axes, tile.index, strict=True))
        part = inside.slices(tuple(firsts))
        flat, steps = _flat(probabilities)
        alone = None if self._direct is None else self._direct(tile, flat, steps)
        rows = zip(self.taper.rows, tile.index, part, strict=True)
        lost = self._loops.add(
            self._ring,
            self._row(inside.start[0]),
            of_lines([a - b for a, b in zip(inside.start, self.box.start, strict=True)], 0)[1:],
            of_lines([a - b for a, b in zip(fresh, inside.start, strict=True)], 0),
            _NOT_ALONE if alone is None else _ends(alone, inside),
            flat,
            place_of(inside, tile.box, steps),
            steps,
            *of_lines([axis_rows[i][side] for axis_rows, i, side in rows], _ONE),
        )
        require_finite(not lost)

    def release(self, row: int) -> Iterator[tuple[int, np.ndarray]]:
        """``(first row, sums)`` of the rows above ``row``, which are finished; sums are ``(rows, *width, classes)`` views,
        valid until the next."""
        width = self.box.shape[1:]
        row = min(row, self.box.stop[0])
        while self.top < row:
            at = self._row(self.top)
            n = min(row - self.top, len(self._ring) - at)
            yield self.top, np.moveaxis(self._ring[at : at + n], 1, -1).reshape(n, *width, -1)
            self.top += n

    def _row(self, row: int) -> int:
        return (row - self.box.start[0]) % len(self._ring)

    def _fresh(self, tile: Tile, inside: Box) -> Shape:
        """Where the part of a tile begins, along each axis, that no tile before it touches."""
        sides = zip(self.taper.grid.axes, tile.index, inside.start, inside.stop, strict=True)
        return tuple(min(max(a, axis.trusted(i - 1)[1]), b) if i else a for axis, i, a, b in sides)

    def _clear(self, fresh: Shape, inside: Box) -> None:
        *lines, columns = Box(fresh[1:], inside.stop[1:]).slices(self.box.start[1:])
        for row in range(fresh[0], inside.stop[0]):
            self._ring[self._row(row)][:, lines[0] if lines else slice(None), columns] = 0


def _flat(probabilities: np.ndarray) -> tuple[np.ndarray, Shape]:
    """All values ``(*patch, classes)`` in the order of memory, and how far apart classes, rows, lines and columns are."""
    if probabilities.dtype not in _TAKEN:
        probabilities = probabilities.astype(np.result_type(probabilities, np.float32))
    first = np.moveaxis(probabilities, -1, 0)
    if not first.flags.c_contiguous:
        first = np.moveaxis(np.ascontiguousarray(probabilities), -1, 0)
    step, *steps = (max(1, step // first.itemsize) for step in first.strides)
    return np.moveaxis(first, 0, -1).ravel("K"), (step, *of_lines(steps, 0))


def _ends(alone: Box, inside: Box) -> Shape:
    """First and last rows, lines and columns of a box in another one."""
    sides = of_lines(alone.slices(inside.start), slice(0, 1))
    return tuple(end for side in sides for end in (side.start, side.stop))
