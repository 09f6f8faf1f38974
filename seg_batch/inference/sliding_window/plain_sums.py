"""``core.kernels.sums`` in NumPy: the same functions with the same bits, by which the kernels are tested.

Small inputs take these, since loading numba costs half a second.
"""

from __future__ import annotations

from functools import reduce

import numpy as np

from seg_batch.core.geometry import Shape

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
    probabilities: np.ndarray,
) -> bool:
    part = _box(values, place, steps, (len(ids), *shape)).astype(np.float32, copy=False)
    where = tuple(slice(a, a + n) for a, n in zip(corner, shape, strict=True))
    labels[where] = ids[part.argmax(0)]
    if len(probabilities):
        with np.errstate(invalid="ignore"):  # the caller refuses what is not finite
            probabilities[:, *where] = np.rint(np.clip(part, 0, 1) * np.float32(255))
    if len(states):
        low, without = states[where] == 1, states[where] == 2
        labels[where][low], labels[where][without] = others[1], others[2]
        if len(probabilities):
            probabilities[:, *where][:, low] = sure[:, None]
            probabilities[:, *where][:, without] = 0
    return not np.isfinite(part).all()


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
) -> float:
    before, after = labels.take(planes - 1, axis), labels.take(planes, axis)
    place = axis + (axis > 0)  # in the sums, whose second axis is that of the classes
    jumps = np.abs(sums.take(planes - 1, place) - sums.take(planes, place)).sum(1)
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
