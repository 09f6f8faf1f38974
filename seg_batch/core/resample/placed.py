"""Two grids of one lattice family whose edges need not coincide: the outer edges of one lie somewhere on the other.

An axis is placed by three whole numbers, so that bands are found without rounding, in any box alike::

    x_in = ((x_out + 1/2) * step + shift) / parts - 1/2

``step = n_in``, ``shift = 0``, ``parts = n_out`` are edges that coincide, as in ``weights``. Voxels of the target whose
centre lies beyond the source have no value; the rules repeat the border of the source for those that reach over it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from seg_batch.core.geometry import Box
from seg_batch.core.resample.resampler import Resampler
from seg_batch.core.resample.weights import REACH, AxisRows

Placing = tuple[int, int, int]


@dataclass(frozen=True)
class PlacedRows(AxisRows):
    """``n_in`` voxels to ``n_out`` by a rule, placed by ``step``, ``shift`` and ``parts``."""

    step: int
    shift: int
    parts: int

    @property
    def identity(self) -> bool:
        return self.step == self.parts and self.shift == 0 and self.n_in == self.n_out

    @property
    def soft(self) -> PlacedRows:
        rule = "linear" if self.rule == "cubic" else self.rule
        return PlacedRows(rule, self.n_in, self.n_out, self.step, self.shift, self.parts)

    @property
    def inside(self) -> tuple[int, int]:
        """``first, stop`` of the outputs whose centre lies in the source."""
        first = -((self.step + 2 * self.shift) // (2 * self.step))
        ends = 2 * self.n_in * self.parts - 2 * self.shift - self.step
        stop = -(-ends // (2 * self.step))
        return min(max(first, 0), self.n_out), min(max(stop, first, 0), self.n_out)

    def band(self, i: int) -> tuple[int, int]:
        if self.identity:
            return i, i + 1
        first, stop = self._reach(i)
        first = min(max(first, 0), self.n_in - 1)
        return first, max(min(stop, self.n_in), first + 1)

    def _reach(self, i: int) -> tuple[int, int]:
        """The band where the source had no ends."""
        if self.rule == "area":
            begin, end = self._edge(i), self._edge(i + 1)
            return begin // self.parts, -(-end // self.parts)
        if self.rule == "nearest":
            first = ((2 * i + 1) * self.step + 2 * self.shift) // (2 * self.parts)
            return first, first + 1
        before, rest = self._place(i)
        reach = REACH if self.rule == "cubic" else 1
        return before - reach + 1, before + (reach if rest or reach > 1 else 0) + 1

    def _edge(self, i: int) -> int:
        return i * self.step + self.shift

    def _place(self, i: int) -> tuple[int, int]:
        return divmod((2 * i + 1) * self.step + 2 * self.shift - self.parts, 2 * self.parts)

    def row(self, i: int) -> tuple[int, np.ndarray]:
        first, stop = self.band(i)
        if stop - first == 1:
            return first, np.ones(1)
        if self.rule == "area":
            ends = np.arange(first, stop + 1) * self.parts
            covered = np.diff(np.clip(ends, self._edge(i), self._edge(i + 1)))
            return first, covered / covered.sum()
        before, rest = self._place(i)
        beyond = rest / (2 * self.parts)
        if self.rule == "linear":
            return first, np.array([1 - beyond, beyond])
        return first, self._spline(before, beyond, first, stop)


@dataclass(frozen=True)
class PlacedResampler(Resampler):
    """From ``source`` to ``target`` by one rule per axis; ``placings``: step, shift and parts of each."""

    placings: tuple[Placing, ...] = ()

    @property
    def identity(self) -> bool:
        return all(axis.identity for axis in self.axes)

    @cached_property
    def axes(self) -> tuple[PlacedRows, ...]:
        each = zip(self.rules, self.source, self.target, self.placings, strict=True)
        return tuple(PlacedRows(rule, n, m, *placing) for rule, n, m, placing in each)

    @property
    def inside(self) -> Box:
        """The voxels of the target whose centres lie in the source."""
        starts, stops = zip(*(axis.inside for axis in self.axes), strict=True)
        return Box(starts, stops)
