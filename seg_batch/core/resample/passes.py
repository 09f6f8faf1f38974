"""Sums along one axis after the other, on a part of an image that is at hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from seg_batch.core.geometry import Box, Shape
from seg_batch.core.resample.weights import AxisRows

PIECE_BYTES = 1 << 20  # of what lies between two axes: it stays in the processor's cache
MOST_ROWS, LEAST_LINES = 8, 64  # of a piece where rows are long
_NARROW = 32  # values side by side below which lines are turned to lie side by side


class Part(NamedTuple):
    """A box of an image, channels last, contiguous. ``missing`` is the share of each value's weight
    that is missing, from 0 to 1; None is nowhere any. Missing values are 0. Along the first axis it
    may be flat rows, and longer than what they hold."""

    values: np.ndarray  # float32 (*shape, C)
    missing: np.ndarray | None  # the same

    def cut(self, *where: slice) -> Part:
        """A part of it: a view where that is contiguous."""
        missing = None if self.missing is None else np.ascontiguousarray(self.missing[where])
        return Part(np.ascontiguousarray(self.values[where]), missing)

    def view(self, *where: slice) -> Part:
        return Part(self.values[where], None if self.missing is None else self.missing[where])


class Scratch:
    """Buffers by name that are used again and again, so that pages are not asked for each time."""

    def __init__(self) -> None:
        self._flat: dict[str, np.ndarray] = {}

    def __call__(self, name: str, shape: Shape) -> np.ndarray:
        size = math.prod(shape)
        if name not in self._flat or self._flat[name].size < size:
            self._flat[name] = np.empty(size, np.float32)
        return self._flat[name][:size].reshape(shape)


class Passes:
    """The sums along ``order`` of a resampling's axes, each with the rows of its axis."""

    def __init__(self, axes: Sequence[AxisRows], order: Sequence[int]) -> None:
        self.axes, self.order = axes, tuple(order)
        self._scratch = Scratch()

    def before(self, box: Box) -> Box:
        """What a box needs that is the result of all these sums."""
        for axis in self.order:
            box = _with_side(box, axis, self.axes[axis].needed(box.start[axis], box.stop[axis]))
        return box

    def __call__(
        self, part: Part, at: Box, box: Box, channels: int, sums: np.ndarray | None = None
    ) -> Part:
        """A box of the result, from a part at ``at`` that holds what it needs, into ``sums`` or, until
        the next call, into a buffer."""
        if not self.order and sums is None:
            return part.cut(*box.slices(at.start))
        shape = (*box.shape, channels)
        sums = self._scratch("sums", shape) if sums is None else sums
        missing = None if part.missing is None else self._scratch("missing", shape)
        result = Part(sums, missing)
        for piece in self._pieces(box, channels):
            self._piece(part, at, piece, result.view(*piece.slices(box.start)))
        return result

    def _pieces(self, box: Box, channels: int) -> Iterator[Box]:
        """Boxes of some rows and some lines each, of which a mebibyte lies between two axes. Lines at
        the seams are summed twice along the axes before, so there are many lines; a row of a band is
        read once for all rows of a piece, so there are some rows."""
        if len(box.shape) == 1:
            yield box
            return
        line = 4 * channels * math.prod(box.shape[2:])
        rows, lines = PIECE_BYTES // (line * box.shape[1]), box.shape[1]
        if rows < MOST_ROWS:
            rows = min(max(PIECE_BYTES // (LEAST_LINES * line), 1), MOST_ROWS)
            lines = max(PIECE_BYTES // (rows * line), 1)
        sides = zip(box.start[:2], box.stop[:2], (rows, lines), strict=True)
        for place in itertools.product(*(range(*side) for side in sides)):
            stop = (place[0] + rows, place[1] + lines, *box.stop[2:])
            yield Box((*place, *box.start[2:]), stop).intersection(box)

    def _piece(self, part: Part, at: Box, box: Box, result: Part) -> None:
        for k, (axis, after) in enumerate(zip(self.order, self._steps(box), strict=True)):
            last = k + 1 == len(self.order) and result.values.flags.c_contiguous
            into = result if last else self._between(k, after, result)
            self._sum(part, at, axis, after, into)
            part, at = into, after
        if part is not result:
            _copy(part.cut(*box.slices(at.start)), result)

    def _steps(self, box: Box) -> list[Box]:
        """What each sum makes, the last of which makes ``box``."""
        steps = [box]
        for axis in reversed(self.order[1:]):
            side = self.axes[axis].needed(*_side(steps[0], axis))
            steps.insert(0, _with_side(steps[0], axis, side))
        return steps if self.order else []

    def _between(self, k: int, box: Box, result: Part) -> Part:
        shape = (*box.shape, result.values.shape[-1])
        missing = None if result.missing is None else self._scratch(f"missing {k}", shape)
        return Part(self._scratch(f"sums {k}", shape), missing)

    def _sum(self, part: Part, at: Box, axis: int, after: Box, into: Part) -> None:
        """``after``, which may be less of other axes than ``part`` holds, into an array."""
        from seg_batch.core.resample import kernels

        part, at, start = _without_others(part, at, axis, after, into.values.shape[-1])
        rows, (first, stop) = self.axes[axis], _side(after, axis)
        outer, inner = (
            math.prod(into.values.shape[:axis]),
            math.prod(into.values.shape[axis + 1 :]),
        )
        shape = (outer, at.shape[axis], -1)
        bands, weights = (array[first:stop] for array in rows.arrays)
        origin = at.start[axis]
        lines = outer > 1 and inner < _NARROW
        x, y = part.values.reshape(shape), into.values.reshape(outer, stop - first, inner)
        places = (origin,) if lines else (start, origin)
        if part.missing is None:
            turned = kernels.along_lines if weights.shape[1] > 2 else kernels.along_pairs
            (turned if lines else kernels.along)(x, *places, bands, weights, y)
            return
        assert into.missing is not None
        soft = (array[first:stop] for array in rows.soft.arrays)
        kernel = kernels.along_lines_missing if lines else kernels.along_missing
        missing = part.missing.reshape(shape), into.missing.reshape(y.shape)
        kernel(x, missing[0], *places, bands, weights, *soft, y, missing[1])


def _without_others(
    part: Part, at: Box, axis: int, after: Box, channels: int
) -> tuple[Part, Box, int]:
    """The part cut to ``after`` in all axes but ``axis``, where that lies, and its first column: rows
    of the first axis stay where they are, since a piece of each is contiguous."""
    wanted = _with_side(after, axis, _side(at, axis))
    if wanted == at:
        return part, at, 0
    if axis == 0 and wanted.shape[2:] == at.shape[2:]:
        line = math.prod(at.shape[2:]) * channels
        return part, at, (wanted.start[1] - at.start[1]) * line
    return part.cut(*wanted.slices(at.start)), wanted, 0


def _copy(part: Part, into: Part) -> None:
    into.values[...] = part.values
    if part.missing is not None and into.missing is not None:
        into.missing[...] = part.missing


def _side(box: Box, axis: int) -> tuple[int, int]:
    return box.start[axis], box.stop[axis]


def _with_side(box: Box, axis: int, side: tuple[int, int]) -> Box:
    start, stop = list(box.start), list(box.stop)
    start[axis], stop[axis] = side
    return Box(tuple(start), tuple(stop))
