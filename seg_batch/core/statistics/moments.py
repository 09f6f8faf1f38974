"""Mean and standard deviation per channel, in one pass over pieces of any shape."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from seg_batch.core.normalise import Normaliser, Pixels


@dataclass
class Moments:
    """Count, mean and sum of squared deviations per channel, ``(C,)`` float64 each.

    Pieces are combined pairwise (Chan, Golub and LeVeque 1979), so that neither a large offset nor
    the number of pieces costs digits.
    """

    count: np.ndarray
    mean: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, pieces: Iterable[Pixels], channels: int) -> Moments:
        """Moments of the valid, finite voxels of all pieces, in one pass."""
        moments = cls(np.zeros(channels), np.zeros(channels), np.zeros(channels))
        for pixels in pieces:
            moments.add(pixels)
        return moments

    def add(self, pixels: Pixels) -> None:
        """Add the valid, finite voxels of a piece."""
        physical = pixels.physical(np.float64)
        for c in range(len(self.count)):
            values = physical[..., c]
            values = values[pixels.valid[..., c]] if pixels.valid is not None else values
            values = values[np.isfinite(values)]
            if values.size:
                mean = float(values.mean(dtype=np.float64))
                squares = float(np.square(values - mean).sum(dtype=np.float64))
                self._combine(c, values.size, mean, squares)

    def merge(self, other: Moments) -> None:
        """Add the moments of other voxels."""
        for c in map(int, np.flatnonzero(other.count)):
            self._combine(c, other.count[c], other.mean[c], other.squares[c])

    def _combine(self, c: int, count: float, mean: float, squares: float) -> None:
        delta, total = mean - self.mean[c], self.count[c] + count
        self.squares[c] += squares
        self.squares[c] += delta**2 * self.count[c] * count / total
        self.mean[c] += delta * count / total
        self.count[c] = total

    def normaliser(self) -> Normaliser:
        """Mean and standard deviation; a channel without spread gets std 1."""
        std = np.sqrt(self.squares / np.maximum(self.count, 1))
        spread = std > 1e-13 * np.abs(self.mean)  # below that: rounding of a constant
        return Normaliser(tuple(self.mean.tolist()), tuple(np.where(spread, std, 1.0).tolist()))
