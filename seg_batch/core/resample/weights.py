"""One axis of a resampling: ``n_in`` voxels become ``n_out``, and the edges of both grids coincide::

    x_in = (x_out + 1/2) * n_in / n_out - 1/2        (scikit-image, nnU-Net, torch without align_corners)

An output voxel is a weighted sum of a *band* of neighbouring input voxels. The band and the weights
follow from the rule and the two extents alone, so they are the same in every block. Bands are found in
integers; they move only upward along the axis, so ranges can be inverted by bisection.

=========== ====================================================================================
``nearest``  the voxel whose cell holds the centre of the output voxel; of two that share a face
             there, the later one
``linear``   between the two neighbours; the first and the last voxel are repeated at the border
``cubic``    interpolating cubic B-spline, the border voxels repeated (scipy's ``mode="nearest"``).
             Prefilter and spline are one row of 26 weights. Along an axis, what is cut off
             changes a sum by less than 1e-7 of the largest value, less than float32 resolves
``area``     mean over the part of the input that the output voxel covers. Where the output is finer,
             that is the input voxel it lies in, or the two that it overlaps
=========== ====================================================================================
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

RULES = ("nearest", "linear", "cubic", "area")
# A cubic row reads this many voxels on each side: with 12 the cut would be above float32's rounding.
REACH = 13
_POLE = math.sqrt(3) - 2  # of the inverse of the B-spline's samples (1/6, 4/6, 1/6)


class Rows(NamedTuple):
    """The rows of an axis as arrays. Row ``i`` is ``y = x[ref] + sum of w[k] * (x[first + k] - x[ref])``
    over its band, so that a constant stays exactly what it is."""

    bands: np.ndarray  # int64 (n_out, 4): first and stop of the band, input of weights[:, 0], ref
    weights: np.ndarray  # float32 (n_out, taps), zero outside the band


@dataclass(frozen=True)
class AxisRows:
    """``n_in`` voxels to ``n_out`` by a rule. Cheap to make: arrays are made when they are asked for."""

    rule: str
    n_in: int
    n_out: int

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"rule {self.rule!r} is none of {', '.join(RULES)}")
        if self.n_in < 1 or self.n_out < 1:
            raise ValueError(f"extents {self.n_in} and {self.n_out} must be at least 1")

    @property
    def identity(self) -> bool:
        """Nothing is done: by every rule a voxel becomes itself."""
        return self.n_in == self.n_out

    @property
    def arrays(self) -> Rows:
        """All rows, made once per process for equal axes."""
        return _arrays(self)

    @property
    def first(self) -> np.ndarray:
        """Input voxel of ``weights[:, 0]``, int64 ``(n_out,)``; ``first + taps`` is at most ``n_in``."""
        return self.arrays.bands[:, 2]

    @property
    def weights(self) -> np.ndarray:
        """float32 ``(n_out, taps)``, computed in float64."""
        return self.arrays.weights

    @property
    def soft(self) -> AxisRows:
        """The rows where something is missing: none of their weights is negative."""
        return AxisRows("linear", self.n_in, self.n_out) if self.rule == "cubic" else self

    def band(self, i: int) -> tuple[int, int]:
        """``first, stop`` of the input voxels that output voxel ``i`` reads."""
        if self.identity:
            return i, i + 1
        if self.rule == "area":
            return i * self.n_in // self.n_out, -((i + 1) * self.n_in // -self.n_out)
        if self.rule == "nearest":
            first = (2 * i + 1) * self.n_in // (2 * self.n_out)
            return first, first + 1
        before, rest = self._place(i)
        reach = REACH if self.rule == "cubic" else 1
        first, last = before - reach + 1, before + (reach if rest or reach > 1 else 0)
        return min(max(first, 0), self.n_in - 1), max(min(last, self.n_in - 1), 0) + 1

    def _place(self, i: int) -> tuple[int, int]:
        """``x_in`` of an output voxel: the voxel before it, and the rest in parts of ``2 * n_out``."""
        return divmod((2 * i + 1) * self.n_in - self.n_out, 2 * self.n_out)

    def needed(self, start: int, stop: int) -> tuple[int, int]:
        """``first, stop`` of the input voxels that outputs ``start <= i < stop`` read."""
        if start >= stop:
            first = self.band(min(max(start, 0), self.n_out - 1))[0]
            return first, first
        return self.band(start)[0], self.band(stop - 1)[1]

    def reached(self, start: int, stop: int) -> tuple[int, int]:
        """``first, stop`` of the outputs that read any input voxel of ``start <= j < stop``. Where the
        output is coarser there may be none, and both are the same number."""
        outputs = range(self.n_out)
        first = bisect_right(outputs, start, key=lambda i: self.band(i)[1])
        return first, max(first, bisect_left(outputs, stop, key=lambda i: self.band(i)[0]))

    def row(self, i: int) -> tuple[int, np.ndarray]:
        """First voxel of the band of ``i``, and the band's weights in float64, which sum to 1."""
        first, stop = self.band(i)
        if stop - first == 1:
            return first, np.ones(1)
        if self.rule == "area":
            ends = np.arange(first, stop + 1) * self.n_out
            inside = np.clip(ends, i * self.n_in, (i + 1) * self.n_in)
            return first, np.diff(inside) / self.n_in
        before, rest = self._place(i)
        beyond = rest / (2 * self.n_out)
        if self.rule == "linear":
            return first, np.array([1 - beyond, beyond])
        return first, self._spline(before, beyond, first, stop)

    def _spline(self, before: int, beyond: float, first: int, stop: int) -> np.ndarray:
        """Weights of the band, those of voxels beyond the border added to the border's."""
        values = _spline_samples(beyond) @ _PREFILTER
        places = np.clip(before + _OFFSETS, 0, self.n_in - 1) - first
        return np.bincount(places, values / values.sum(), minlength=stop - first)


_OFFSETS = np.arange(1 - REACH, REACH + 1)  # of a cubic row, from the voxel before its place
# What each voxel of a row adds to the four spline coefficients about the place.
_PREFILTER = math.sqrt(3) * _POLE ** np.abs(np.arange(-1, 3)[:, None] - _OFFSETS)


def _spline_samples(t: float) -> np.ndarray:
    """The four cubic B-splines that are not zero at ``t`` of the way from one voxel to the next."""
    return np.array([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 1 + 3 * t * (1 + t - t**2), t**3]) / 6


@lru_cache(64)
def _arrays(axis: AxisRows) -> Rows:
    rows = [axis.row(i) for i in range(axis.n_out)]
    taps = max(len(weights) for _, weights in rows)
    bands = np.empty((axis.n_out, 4), np.int64)
    table = np.zeros((axis.n_out, taps), np.float32)
    for i, (first, weights) in enumerate(rows):
        left = min(first, axis.n_in - taps)
        bands[i] = first, first + len(weights), left, first + np.argmax(np.abs(weights))
        table[i, first - left : first - left + len(weights)] = weights
    for array in (bands, table):
        array.flags.writeable = False
    return Rows(bands, table)
