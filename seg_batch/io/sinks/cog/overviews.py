"""Half of a raster, for its overviews: the most frequent label, or the mean, of each 2 x 2."""

from __future__ import annotations

import numpy as np


# GDAL's MODE resampling takes twice the time of the rest of a COG. Here, on whole arrays and without
# branches, a majority costs no more than NEAREST, and thin lines do not flicker between levels.
def majority_overview(labels: np.ndarray) -> np.ndarray:
    """``(..., y, x)`` labels to ``(..., ceil(y/2), ceil(x/2))``: the most frequent label of
    each 2 x 2, where nodata counts as a label. Ties are resolved always in the same way."""
    p, q, r, s = _quarters(labels)
    out = _where(q == r, q, p)
    return _where((q == s) | (r == s), s, out)


def mean_overview(values: np.ndarray) -> np.ndarray:
    """``(..., y, x)`` uint8 to ``(..., ceil(y/2), ceil(x/2))``: the rounded mean of each 2 x 2."""
    total = np.full((), 2, np.uint16)
    for quarter in _quarters(values):
        total = total + quarter
    return (total >> 2).astype(values.dtype)


def _quarters(a: np.ndarray) -> list[np.ndarray]:
    """Top left, top right, bottom left, bottom right of each 2 x 2; odd edges are repeated."""
    rows, columns = a.shape[-2] % 2, a.shape[-1] % 2
    if rows or columns:
        a = np.pad(a, [(0, 0)] * (a.ndim - 2) + [(0, rows), (0, columns)], mode="edge")
    return [np.ascontiguousarray(a[..., y::2, x::2]) for y in (0, 1) for x in (0, 1)]


def _where(mask: np.ndarray, yes: np.ndarray, no: np.ndarray) -> np.ndarray:
    """``np.where`` for integers, by bits: four times as fast on bytes."""
    ones = np.negative(mask.astype(no.dtype))
    return no ^ ((no ^ yes) & ones)
