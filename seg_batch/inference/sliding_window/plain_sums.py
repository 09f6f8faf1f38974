"""``core.kernels.sums`` in NumPy: the same functions with the same bits, by which the kernels are tested.

Small inputs take these, since loading numba costs half a second.
"""

from __future__ import annotations

from functools import reduce

import numpy as np

from seg_batch.core.geometry import Shape
from seg_batch.core.kernels.exponential import (
    AS_THEY_ARE,
    LEAST,
    LN2,
    LN2_REST,
    PER_LN2,
    POWERS,
    SERIES,
    SIGMOID,
    SOFTMAX,
)

SMALL = 1 << 22  # sums of a block: fewer take less time here than numba takes to load


def add(
    sums: np.ndarray,
    at: int,
    corner: Shape,
    fresh: Shape,
    alone: Shape,
    values: np.ndarray,
    place: int,
    steps: Shape,
    *weights: np.ndarray,
) -> bool:
    shape = (sums.shape[1], *map(len, weights))
    part = _box(values, place, steps, shape)
    rows = (at + np.arange(shape[1])) % len(sums)
    where = (slice(None), *(slice(a, a + n) for a, n in zip(corner, shape[2:], strict=True)))
    inside = sums[rows][:, *where]
    inside[fresh[0] :, :, fresh[1] :, fresh[2] :] = 0
    inside += np.moveaxis(part * reduce(np.multiply.outer, weights), 1, 0)
    for row, line in zip(rows, inside, strict=True):
        sums[row, *where] = line
    return not np.isfinite(part).all()


def label(
    values: np.ndarray,
    place: int,
    steps: Shape,
    corner: Shape,
    shape: Shape,
    ids: np.ndarray,
    others: np.ndarray,
    states: np.ndarray,
    labels: np.ndarray,
    sure: np.ndarray,
    kept: np.ndarray,
    kind: int,
    background: int,
    last: bool,
) -> bool:
    part = _box(values, place, steps, (len(ids), *shape)).astype(np.float32, copy=False)
    where = tuple(slice(a, a + n) for a, n in zip(corner, shape, strict=True))
    labels[where] = ids[chosen(part, background, last)]
    if len(kept):
        with np.errstate(invalid="ignore"):  # the caller refuses what is not finite
            made = probabilities(part, kind, background)
            kept[:, *where] = np.rint(np.clip(made, 0, 1) * np.float32(255))
    if len(states):
        low, without = states[where] == 1, states[where] == 2
        labels[where][low], labels[where][without] = others[1], others[2]
        if len(kept):
            kept[:, *where][:, low] = sure[:, None]
            kept[:, *where][:, without] = 0
    return not np.isfinite(part).all()


def chosen(part: np.ndarray, background: int, last: bool) -> np.ndarray:
    """The index of the class that each voxel of sums ``(classes, ...)`` gets."""
    if not last:
        return part.argmax(0)
    index = np.full(part.shape[1:], background)
    for k in range(len(part)):
        index[part[k] > part[background]] = k
    return index


def probabilities(sums: np.ndarray, kind: int, background: int) -> np.ndarray:
    """Those of float32 sums ``(classes, ...)`` of many voxels: see ``core.kernels.probabilities``. Those that need nothing stay
    what they are, without bounds."""
    if kind == AS_THEY_ARE or not len(sums):
        return sums
    finite = np.where(np.isfinite(sums), sums, np.float32(0))
    if kind == SOFTMAX:
        parts = [_exp(line) for line in finite - finite.max(0)]
        total = reduce(np.add, parts)
        return np.stack([part / total for part in parts])
    one = np.float32(1)
    if kind == SIGMOID:
        e = _exp(-np.abs(finite))
        out = np.where(finite >= 0, one, e) / (one + e)
    else:
        out = np.clip(finite, 0, 1)
    if background >= 0:
        out[background] = one - np.delete(out, background, 0).max(0)
    return out


def _exp(x: np.ndarray) -> np.ndarray:
    x = np.maximum(x, LEAST)
    k = np.rint(x * PER_LN2)
    r = (x - k * LN2) - k * LN2_REST
    total = np.full_like(r, SERIES[0])
    for factor in SERIES[1:]:
        total = total * r + factor
    return total * POWERS[k.astype(int) + 126]


def _box(values: np.ndarray, place: int, steps: Shape, shape: Shape) -> np.ndarray:
    """``(classes, rows, lines, columns)`` of flat values."""
    strides = tuple(step * values.itemsize for step in steps)
    return np.lib.stride_tricks.as_strided(values[place:], shape, strides, writeable=False)


def count(
    sums: np.ndarray,
    valid: np.ndarray,
    labels: np.ndarray,
    index: np.ndarray,
    axis: int,
    planes: np.ndarray,
    totals: np.ndarray,
    classes: np.ndarray,
    kind: int,
    background: int,
) -> float:
    before, after = labels.take(planes - 1, axis), labels.take(planes, axis)
    place = axis + (axis > 0)  # in the sums, whose second axis is that of the classes
    sides = (np.moveaxis(sums.take(planes - back, place), 1, 0) for back in (1, 0))
    one, other = (probabilities(side, kind, background) for side in sides)
    jumps = np.abs(one - other).sum(0)
    if len(valid):
        both = valid.take(planes - 1, axis) & valid.take(planes, axis)
        before, after, jumps = before[both], after[both], jumps[both]
    flips = before != after
    totals += before.size, np.count_nonzero(flips)
    names = np.flatnonzero(index >= 0)
    for row, counted in ((0, np.ones_like(flips)), (1, flips)):
        hit = (
            np.bincount(part[counted].ravel(), minlength=len(index))[names]
            for part in (before, after)
        )
        same = np.bincount(before[counted & ~flips].ravel(), minlength=len(index))[names]
        classes[row, index[names]] += sum(hit) - same
    return float(jumps.sum(dtype=np.float64))
