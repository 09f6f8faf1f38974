"""Scores from confusion matrices: one pass over the voxels, any size, no arrays kept.

``matrix[t, p]`` counts the voxels of true class ``t`` that were given class ``p``. A class that
neither truth nor prediction has is undefined: its Dice and IoU are NaN, never 0 or 1, and means
leave it out.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np


class Confusion:
    """A confusion matrix that grows region by region; ``matrix`` is int64 ``(classes, classes)``."""

    def __init__(self, classes: int) -> None:
        self.matrix = np.zeros((classes, classes), np.int64)

    def add(self, truth: np.ndarray, found: np.ndarray, valid: np.ndarray | None = None) -> None:
        """Count one region of class indices; where ``valid`` is False nothing is counted."""
        if valid is not None:
            truth, found = truth[valid], found[valid]
        n = len(self.matrix)
        pairs = truth.astype(np.int64).ravel() * n + found.ravel()
        self.matrix += np.bincount(pairs, minlength=n * n).reshape(n, n)


def accuracy(matrix: np.ndarray) -> float:
    """Share of the voxels that got their class; NaN without voxels."""
    return _ratio(float(np.trace(matrix)), float(matrix.sum()))


def commonest(matrix: np.ndarray) -> float:
    """The accuracy of giving every voxel the commonest true class: what a score must beat."""
    return _ratio(float(matrix.sum(1).max(initial=0)), float(matrix.sum()))


def dice(matrix: np.ndarray) -> np.ndarray:
    """Dice (F1) per class: ``2 |T and P| / (|T| + |P|)``."""
    return _divide(2.0 * np.diag(matrix), matrix.sum(0) + matrix.sum(1))


def iou(matrix: np.ndarray) -> np.ndarray:
    """Intersection over union per class: ``|T and P| / |T or P|``."""
    hits = np.diag(matrix)
    return _divide(hits.astype(float), matrix.sum(0) + matrix.sum(1) - hits)


def per_case(matrices: list[np.ndarray]) -> np.ndarray:
    """Mean over cases of the Dice of each class; a case counts only for classes it has."""
    table = np.array([dice(m) for m in matrices])
    return np.array([mean(column) for column in table.T])


def mean(values: np.ndarray) -> float:
    """The mean of what is defined; NaN when nothing is."""
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if kept.size else math.nan


def plain(value: Any, digits: int = 4) -> Any:
    """Rounded floats for JSON, where NaN is None."""
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(v, digits) for v in value]
    return None if math.isnan(value) else round(float(value), digits)


def _ratio(a: float, b: float) -> float:
    return a / b if b else math.nan


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.full(len(a), np.nan), where=b > 0)
