"""A grid onto another of the same rank, one axis after the other, box by box.

Axes that shrink most come first; the order follows from the two grids. Every voxel is therefore the
result of the same float32 operations in whichever box it is asked for, and from whatever window: the
bits of a box are those of the whole. A constant stays exactly what it is.

Voxels that are missing (not valid, NaN, infinite) do not spread: weights are renormalised over the
others, axis by axis, which comes to the same as over all axes at once. An output voxel is valid where
at least half of its weight is; elsewhere it is 0. Cubic weights are partly negative, so where the
cubic band of an axis holds a missing voxel, that axis interpolates linearly.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from seg_batch.core.geometry import Box, Shape
from seg_batch.core.resample.passes import Part, Passes
from seg_batch.core.resample.row_band import RowBand
from seg_batch.core.resample.weights import AxisRows

ROWS_BYTES = 8 << 20  # of the rows that are worked on together
MISSING_MOST = np.float32(0.5 + 1e-5)  # half of the weight, and the rounding of its sum
Sides = Iterable[tuple[int, int]]


@dataclass(frozen=True)
class Resampler:
    """From the grid ``source`` to the grid ``target``, whose edges coincide, by one rule per axis."""

    source: Shape
    target: Shape
    rules: tuple[str, ...]

    def __post_init__(self) -> None:
        if not len(self.source) == len(self.target) == len(self.rules):
            raise ValueError(
                f"source {self.source}, target {self.target} and rules {self.rules} differ in rank"
            )
        _ = self.axes

    @property
    def identity(self) -> bool:
        """Both grids are one, and nothing is done."""
        return self.source == self.target

    @cached_property
    def axes(self) -> tuple[AxisRows, ...]:
        return tuple(map(AxisRows, self.rules, self.source, self.target))

    @cached_property
    def order(self) -> tuple[int, ...]:
        """The axes along which anything is summed, in their order."""
        sizes = {i: axis.n_out / axis.n_in for i, axis in enumerate(self.axes) if not axis.identity}
        return tuple(sorted(sizes, key=sizes.__getitem__))

    @property
    def place(self) -> Box:
        """Where the voxels lie that the source reaches: all of the target."""
        return Box.whole(self.target)

    def span(self, axis: int, start: int, stop: int) -> tuple[int, int]:
        """What a span of one axis of the target needs of the source."""
        return self.axes[axis].needed(start, stop)

    def needed(self, box: Box) -> Box:
        """Box of the source that a box of the target reads."""
        sides = zip(self.axes, box.start, box.stop, strict=True)
        return _box(axis.needed(start, stop) for axis, start, stop in sides)

    def reached(self, box: Box) -> Box:
        """Box of all voxels of the target that read any of a box of the source; it may be empty."""
        sides = zip(self.axes, box.start, box.stop, strict=True)
        return _box(axis.reached(start, stop) for axis, start, stop in sides)

    def __call__(
        self, values: np.ndarray, valid: np.ndarray | None, window: Box, box: Box
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Float32 ``(*box.shape, C)``, and where it is valid; None is everywhere.

        ``values`` ``(*window.shape, C)`` of any type lie at ``window`` of the source, which holds
        ``needed(box)``; ``valid``, of the same shape, is False where a value is missing.
        """
        need = self.needed(box)
        if not window.contains(need) or values.shape[:-1] != window.shape:
            raise ValueError(f"{box} needs {need}, and values {values.shape} lie at {window}")
        if valid is not None and valid.shape != values.shape:
            raise ValueError(f"valid {valid.shape} is not of the shape of values {values.shape}")
        inside = need.slices(window.start)
        sums = np.empty((*box.shape, values.shape[-1]), np.float32)
        if not sums.size:
            return sums, None
        parts = _parts(values[inside], None if valid is None else valid[inside], need.start[0])
        sums_valid = None
        for first, part in self._rolled(parts, box, sums):
            if part.missing is not None:
                if sums_valid is None:
                    sums_valid = np.ones(sums.shape, bool)
                rows = slice(first - box.start[0], first - box.start[0] + len(part.values))
                sums_valid[rows] = part.missing <= MISSING_MOST
                sums[rows][~sums_valid[rows]] = 0
        return sums, sums_valid

    def roll(
        self, parts: Iterable[tuple[int, np.ndarray]], box: Box
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Rows of a box of the target as rows of the source arrive, with the bits of the whole.

        ``parts`` are ``(first row, float32 (rows, *needed(box).shape[1:], C))`` of the source, all
        rows of ``needed(box)`` in their order. What comes out is ``(first row, float32 (rows,
        *box.shape[1:], C))`` of the target, a few mebibytes or one row at a time. An array is valid until
        the next is asked for, on both sides. Source rows are held as long as later rows need them.
        """
        arriving = ((first, Part(np.ascontiguousarray(rows), None)) for first, rows in parts)
        for first, part in self._rolled(arriving, box, None):
            yield first, part.values

    def _rolled(
        self, parts: Iterable[tuple[int, Part]], box: Box, sums: np.ndarray | None
    ) -> Iterator[tuple[int, Part]]:
        """Rows of a box, into ``sums`` where it is given. What comes before the first axis is summed
        as rows come, the rest from a band of the rows that are held."""
        if 0 not in self.order:
            yield from self._row_by_row(parts, box, sums)
            return
        place, need = self.order.index(0), self.needed(box)
        early, late = Passes(self.axes, self.order[:place]), Passes(self.axes, self.order[place:])
        middle = late.before(box)
        band, row = RowBand(middle.start[0]), box.start[0]
        for first, part in _small(parts):
            stop, channels = first + len(part.values), part.values.shape[-1]
            at, want = _rows(need, first, stop), _rows(middle, first, stop)
            band.append(first, early(part, at, want, channels))
            ready = self._ready(row, box.stop[0], band.stop)
            for a, b in _steps(row, ready, 4 * math.prod(box.shape[1:]) * channels):
                into = None if sums is None else sums[a - box.start[0] : b - box.start[0]]
                at = _rows(middle, band.start, band.stop)
                yield a, late(band.part, at, _rows(box, a, b), channels, into)
            row = ready
            if row < box.stop[0]:
                band.drop(self.axes[0].band(row)[0])

    def _row_by_row(
        self, parts: Iterable[tuple[int, Part]], box: Box, sums: np.ndarray | None
    ) -> Iterator[tuple[int, Part]]:
        """Where rows stay what they are, each is summed alone."""
        passes, need = Passes(self.axes, self.order), self.needed(box)
        for first, part in _small(parts):
            stop = first + len(part.values)
            into = None if sums is None else sums[first - box.start[0] : stop - box.start[0]]
            at, want = _rows(need, first, stop), _rows(box, first, stop)
            yield first, passes(part, at, want, part.values.shape[-1], into)

    def _ready(self, row: int, stop: int, held: int) -> int:
        """The first row of the target that needs rows of the source from ``held`` on."""
        rows = range(row, stop)
        return row + bisect_right(rows, held, key=lambda i: self.axes[0].band(i)[1])


def _parts(values: np.ndarray, valid: np.ndarray | None, start: int) -> Iterator[tuple[int, Part]]:
    """The rows of a window from top to bottom, as float32; missing values are found and become 0."""
    from seg_batch.core.resample.kernels import all_finite

    for first, stop in _steps(0, len(values), 4 * values[0].size):
        with np.errstate(over="ignore", invalid="ignore"):  # too large for float32 is missing
            rows = np.ascontiguousarray(values[first:stop], np.float32)
        missing = None
        if not all_finite(rows.reshape(-1)):
            missing = ~np.isfinite(rows)
        if valid is not None and not valid[first:stop].all():
            missing = ~valid[first:stop] | (False if missing is None else missing)
        if missing is None:
            yield start + first, Part(rows, None)
        else:
            yield (
                start + first,
                Part(np.where(missing, np.float32(0), rows), missing.astype(np.float32)),
            )


def _small(parts: Iterable[tuple[int, Part]]) -> Iterator[tuple[int, Part]]:
    """The same rows, in parts of a few mebibytes or one row."""
    for first, part in parts:
        for start, stop in _steps(0, len(part.values), part.values[:1].nbytes):
            yield first + start, part.view(slice(start, stop))


def _steps(start: int, stop: int, row_bytes: int) -> Iterator[tuple[int, int]]:
    """Runs of rows of about ``ROWS_BYTES``, at least one."""
    step = max(1, ROWS_BYTES // max(1, row_bytes))
    for first in range(start, stop, step):
        yield first, min(first + step, stop)


def _rows(box: Box, start: int, stop: int) -> Box:
    return Box((start, *box.start[1:]), (stop, *box.stop[1:]))


def _box(sides: Sides) -> Box:
    starts, stops = zip(*sides, strict=True)
    return Box(starts, stops)
