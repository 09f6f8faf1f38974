"""Scores from confusion matrices: one pass over the voxels, any size, no arrays kept.

``matrix[t, p]`` counts the voxels of true class ``t`` that were given class ``p``. Of class ``k``
with ``TP = matrix[k, k]``, ``FN`` the rest of its row, ``FP`` the rest of its column and ``TN``
what is left::

    dice        = 2 TP / (2 TP + FP + FN)      NaN where neither truth nor prediction has k
    iou         =   TP / (TP + FP + FN)        NaN where neither has it
    sensitivity =   TP / (TP + FN)             NaN where the truth has none
    precision   =   TP / (TP + FP)             NaN where the prediction has none
    specificity =   TN / (TN + FP)             NaN where all of the truth is k
    accuracy    = trace / sum                  NaN without voxels

What is undefined is NaN, never 0 or 1, and means leave it out. A class that only one of the two
has is not undefined: its Dice and IoU are 0. All functions per class also take stacks of matrices,
``(..., K, K)``, and give ``(..., K)``.
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
        check_labels(truth, n)
        check_labels(found, n)
        pairs = truth.astype(np.intp).ravel()
        pairs *= n
        pairs += found.ravel().astype(np.intp, copy=False)
        self.matrix += np.bincount(pairs, minlength=n * n).reshape(n, n)


def check_labels(indices: np.ndarray, classes: int) -> None:
    """ValueError for what is no class index: it would be counted in another cell."""
    if indices.dtype.kind not in "biu":
        raise ValueError(f"class indices of type {indices.dtype}: give whole numbers")
    if indices.size and not 0 <= int(indices.min()) <= int(indices.max()) < classes:
        raise ValueError(
            f"class indices {indices.min()} to {indices.max()} with {classes} classes: "
            "give indices from 0, and mark what is no class as not valid"
        )


def accuracy(matrix: np.ndarray) -> float:
    """Share of the voxels that got their class; NaN without voxels."""
    return float(class_shares(matrix))


def class_shares(matrices: np.ndarray) -> np.ndarray:
    """The accuracy of each matrix of a stack ``(..., K, K)``, as ``(...)``."""
    return _divide(np.trace(matrices, axis1=-2, axis2=-1), matrices.sum((-2, -1)))


def commonest(matrix: np.ndarray) -> float:
    """The accuracy of giving every voxel the commonest true class: the baseline of any score."""
    return float(_divide(matrix.sum(1).max(initial=0), matrix.sum()))


def dice(matrix: np.ndarray) -> np.ndarray:
    """Dice (F1) per class: ``2 |T and P| / (|T| + |P|)``."""
    return _divide(2 * _hits(matrix), matrix.sum(-2) + matrix.sum(-1))


def iou(matrix: np.ndarray) -> np.ndarray:
    """Intersection over union per class: ``|T and P| / |T or P|``."""
    hits = _hits(matrix)
    return _divide(hits, matrix.sum(-2) + matrix.sum(-1) - hits)


def sensitivity(matrix: np.ndarray) -> np.ndarray:
    """Recall per class: the share of the true voxels that were found, ``|T and P| / |T|``."""
    return _divide(_hits(matrix), matrix.sum(-1))


def precision(matrix: np.ndarray) -> np.ndarray:
    """Per class the share of what was found that is true, ``|T and P| / |P|``."""
    return _divide(_hits(matrix), matrix.sum(-2))


def specificity(matrix: np.ndarray) -> np.ndarray:
    """Per class the share of the voxels of other classes that were not given it."""
    others = matrix.sum((-2, -1))[..., None] - matrix.sum(-1)
    return _divide(others - (matrix.sum(-2) - _hits(matrix)), others)


def per_case(matrices: list[np.ndarray]) -> np.ndarray:
    """Mean over cases of the Dice of each class; a case counts only for classes it has."""
    table = np.array([dice(m) for m in matrices])
    return np.array([mean_over_classes(column) for column in table.T])


def mean_over_classes(values: np.ndarray) -> float:
    """The mean of what is defined; NaN when nothing is."""
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if kept.size else math.nan


def plain(value: Any, digits: int = 4) -> Any:
    """Rounded floats for JSON, where NaN and infinity are None."""
    if np.ndim(value):
        return [plain(v, digits) for v in value]
    return round(float(value), digits) if math.isfinite(value) else None


def _hits(matrices: np.ndarray) -> np.ndarray:
    return np.diagonal(matrices, axis1=-2, axis2=-1)


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.full(np.shape(a), np.nan), where=np.asarray(b) > 0)
