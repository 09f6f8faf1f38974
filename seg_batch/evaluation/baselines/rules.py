"""Plain rules, fitted to a sample of voxels: the commonest class, a linear discriminant, a threshold on an index."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

import numpy as np

_RIDGE = 1e-6  # of the mean variance, so that channels that follow from others do no harm


class Rule(Protocol):
    """``name``: what it is called; ``words``: how it was fitted. Called with physical values ``(n, channels)``, it gives class
    indices ``(n,)``."""

    @property
    def name(self) -> str: ...

    @property
    def words(self) -> str: ...

    def __call__(self, values: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Commonest:
    """One class for all."""

    index: int
    words: str
    name: str = "commonest class"

    def __call__(self, values: np.ndarray) -> np.ndarray:
        return np.full(len(values), self.index, np.int64)


@dataclass(frozen=True, eq=False)
class Discriminant:
    """The class with the largest linear score: normal distributions of one covariance, with the shares of the classes."""

    classes: np.ndarray
    weights: np.ndarray
    constants: np.ndarray
    words: str
    name: str = "linear discriminant"

    @classmethod
    def fitted(cls, values: np.ndarray, labels: np.ndarray) -> Discriminant:
        """``values``: ``(n, channels)``, finite; ``labels``: ``(n,)``."""
        classes, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
        middle, scale = values.mean(0), values.std(0)
        scale = np.where(scale > 0, scale, 1)
        z = (values - middle) / scale
        means = np.array([z[index == k].mean(0) for k in range(len(classes))])
        within = z - means[index]
        covariance = within.T @ within / len(z)
        covariance += np.eye(len(covariance)) * (_RIDGE * max(np.trace(covariance), 1e-12))
        weights = np.linalg.solve(covariance, means.T)
        constants = np.log(counts / len(z)) - 0.5 * (means.T * weights).sum(0)
        weights = weights / scale[:, None]
        words = f"per voxel, of {len(z)} voxels of the training part"
        return cls(classes, weights, constants - middle @ weights, words)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(self.classes[(values @ self.weights + self.constants).argmax(1)])


@dataclass(frozen=True)
class Threshold:
    """One of two classes below a threshold of a channel, or of the normalised difference of two, and the other from it on."""

    channels: tuple[int, ...]
    threshold: float
    below: int
    above: int
    words: str
    name: str = "threshold"

    @classmethod
    def fitted(cls, values: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> Threshold:
        """The one with the most voxels right. ``labels``: of two classes."""
        low, high = np.unique(labels).tolist()
        count = values.shape[1]
        choices = [(c,) for c in range(count)] + list(combinations(range(count), 2))
        found = [_cut(_index(values, one), labels == high) for one in choices]
        best = max(range(len(found)), key=lambda k: found[k][0])
        (_, threshold, rising), channels = found[best], choices[best]
        called = [names[c] if names else f"channel {c + 1}" for c in channels]
        what = called[0] if len(called) == 1 else f"({' - '.join(called)}) / ({' + '.join(called)})"
        words = f"{what} at {threshold:.4g}, of {len(labels)} voxels of the training part"
        below, above = (low, high) if rising else (high, low)
        return cls(channels, threshold, below, above, words)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        above = _index(values, self.channels) >= self.threshold
        return np.where(above, self.above, self.below)


def _index(values: np.ndarray, channels: tuple[int, ...]) -> np.ndarray:
    if len(channels) == 1:
        return np.asarray(values[:, channels[0]])
    a, b = (values[:, c] for c in channels)
    total = a + b
    return np.divide(a - b, total, out=np.zeros(len(a)), where=total != 0)


def _cut(index: np.ndarray, high: np.ndarray) -> tuple[int, float, bool]:
    """How many voxels are right, with which threshold, and whether the high class lies above it."""
    order = np.argsort(index, kind="stable")
    index, high = index[order], high[order]
    places = np.flatnonzero(np.diff(index) > 0) + 1  # a threshold lies between two values
    places = np.append(places, 0)
    before = np.concatenate([[0], np.cumsum(high)])
    rising = (places - before[places]) + (before[-1] - before[places])
    falling = len(high) - rising
    is_rising = rising.max() >= falling.max()
    best = int(places[(rising if is_rising else falling).argmax()])
    threshold = (index[best - 1] + index[best]) / 2 if best else index[0]
    return int(max(rising.max(), falling.max())), float(threshold), bool(is_rising)
