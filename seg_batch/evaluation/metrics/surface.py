"""Surfaces, bands along them, and distances between them; exact, in 2-D and 3-D.

**Surface.** A voxel of a mask that has a face neighbour outside the mask (4 neighbours in 2-D, 6
in 3-D) is a surface voxel, at its centre. What lies outside the scored region, and every voxel
that is not valid, is outside all masks: so a mask that meets the region's end or a hole of nodata
has surface there, in truth and prediction alike, and a mask with a voxel has a surface.

**Distances.** ``d(a, B)`` is the Euclidean distance (spacing applied) from surface voxel ``a`` to
the nearest surface voxel of ``B``. With ``T`` the true and ``P`` the predicted surface::

    hausdorff        = max( max d(t, P), max d(p, T) )
    hausdorff95      = max( p95 d(t, P), p95 d(p, T) )
    surface_distance = ( sum d(t, P) + sum d(p, T) ) / ( |T| + |P| )

``p95`` is the smallest distance within which at least 95 % of the voxels of one surface lie (the
inverted empirical distribution: always a distance that occurs). The larger of the two directed
percentiles is taken, as google-deepmind/surface-distance does; percentiles of both directions
pooled would be smaller wherever one surface is large and right and the other small and wrong.
That library weighs each piece of surface by its area, at voxel corners; here each surface voxel
counts once, at its centre. The maxima differ by at most a voxel diagonal, always; percentile and
average do so on closed shapes, but not where a mask is riddled with scattered holes: a hole of one
voxel has 6 surface voxels here and an area of 1.7 voxel faces there, so holes weigh more here.

With no ``T`` and no ``P`` the three are NaN; with one of them only, infinite.

**Band** (Cheng et al., Boundary IoU, CVPR 2021). A voxel of a mask belongs to its band when the
box of ``2 reach + 1`` voxels around it is not all mask: the mask less ``reach`` erosions by a full
3 x 3 (x 3) neighbourhood. ``boundary_iou`` is the IoU of the truth's and the prediction's band.

Surface voxels are held as sorted int64 numbers (the row-major index in the region): memory follows
the surface, 8 bytes for each of its voxels, not the volume.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.spatial import cKDTree

from seg_batch.core.geometry import Box, Shape

BAND = 0.02  # of the diagonal of the extent, as in the paper
WIDEST = 32  # voxels: the windows of a scene larger than memory must stay small
CHUNK = 200_000  # surface voxels whose neighbours are looked up at once


def default_reach(extent: Shape, spacing: tuple[float, ...] | None = None) -> Shape:
    """Half width of the band per axis: 2 % of the diagonal, in whole voxels, from 1 to 32.

    With a spacing both diagonal and band are lengths: thick slices have a band of fewer voxels.
    """
    unit = spacing or (1.0,) * len(extent)
    length = BAND * math.hypot(*(n * s for n, s in zip(extent, unit, strict=True)))
    return tuple(min(WIDEST, max(1, round(length / s))) for s in unit)


def framed(
    labels: np.ndarray, valid: np.ndarray | None, box: Box, window: Box, reach: Shape, outside: int
) -> np.ndarray:
    """The labels of ``box`` with ``reach`` voxels around it on every side, as the smallest type.

    What ``window`` does not hold (beyond the region) and what is not valid has class ``outside``.
    """
    start = tuple(a - r for a, r in zip(box.start, reach, strict=True))
    shape = tuple(n + 2 * r for n, r in zip(box.shape, reach, strict=True))
    out = np.full(shape, outside, np.min_scalar_type(outside))
    part = out[window.slices(start)]
    np.copyto(part, labels, where=True if valid is None else valid, casting="unsafe")
    return out


def core(frame: np.ndarray, reach: Shape) -> np.ndarray:
    """The part of a frame that is its box."""
    return frame[tuple(slice(r, n - r) for r, n in zip(reach, frame.shape, strict=True))]


def surface_of(frame: np.ndarray, reach: Shape, outside: int) -> np.ndarray:
    """Which voxels of the box are surface voxels of their class, for all classes at once."""
    own = core(frame, reach)
    surface = np.zeros(own.shape, bool)
    for axis, r in enumerate(reach):
        for step in (-1, 1):
            sides = [slice(q, q + n) for q, n in zip(reach, own.shape, strict=True)]
            sides[axis] = slice(r + step, r + step + own.shape[axis])
            surface |= own != frame[tuple(sides)]
    return surface & (own != outside)


def band_of(frame: np.ndarray, reach: Shape, outside: int) -> np.ndarray:
    """Which voxels of the box lie in the band of their class: a box around them has another."""
    low, high = frame, frame
    for axis, r in enumerate(reach):
        low = _slide(np.minimum, low, axis, 2 * r + 1)
        high = _slide(np.maximum, high, axis, 2 * r + 1)
    return (low != high) & (core(frame, reach) != outside)


def _slide(op: Callable[..., np.ndarray], a: np.ndarray, axis: int, width: int) -> np.ndarray:
    """``op`` over ``width`` neighbours along an axis, in log2(width) passes; shorter by width - 1."""
    covered = 1
    while covered < width:
        step = min(covered, width - covered)
        near = [slice(None)] * a.ndim
        far = list(near)
        near[axis], far[axis] = slice(0, a.shape[axis] - step), slice(step, None)
        a = op(a[tuple(near)], a[tuple(far)])
        covered += step
    return a


def distances(
    truth: np.ndarray, found: np.ndarray, extent: Shape, spacing: tuple[float, ...] | None = None
) -> tuple[float, float, float]:
    """``(hausdorff, hausdorff95, surface_distance)`` in the unit of ``spacing`` (None: voxels) between
    two surfaces, given as sorted row-major indices in ``extent``, without repeats.

    Voxels that both have are at distance 0 and are not looked up; the others are, in chunks.
    """
    if not len(truth) or not len(found):
        value = math.inf if len(truth) or len(found) else math.nan
        return value, value, value
    unit = np.array(spacing or (1.0,) * len(extent))
    there = _to_nearest(truth, found, extent, unit)
    back = _to_nearest(found, truth, extent, unit)
    hausdorff, hausdorff95 = (
        max(_percentile(there, len(truth), percent), _percentile(back, len(found), percent))
        for percent in (100, 95)
    )
    total = float(there.sum() + back.sum())
    return hausdorff, hausdorff95, total / (len(truth) + len(found))


def _to_nearest(here: np.ndarray, there: np.ndarray, extent: Shape, unit: np.ndarray) -> np.ndarray:
    """Sorted distances to ``there`` from what only ``here`` has."""
    place = np.minimum(np.searchsorted(there, here), len(there) - 1)
    alone = here[there[place] != here]
    if not len(alone):
        return np.zeros(0)
    tree = cKDTree(_points(there, extent, unit), balanced_tree=False, compact_nodes=False)
    out = np.empty(len(alone))
    for i in range(0, len(alone), CHUNK):
        out[i : i + CHUNK] = tree.query(_points(alone[i : i + CHUNK], extent, unit))[0]
    return np.sort(out)


def _points(indices: np.ndarray, extent: Shape, unit: np.ndarray) -> np.ndarray:
    return np.stack(np.unravel_index(indices, extent), axis=1) * unit


def _percentile(beyond: np.ndarray, count: int, percent: int) -> float:
    """Of ``count`` distances, all 0 but the sorted ``beyond``: the least that holds ``percent``."""
    place = -(-count * percent // 100) - 1 - (count - len(beyond))
    return float(beyond[place]) if place >= 0 else 0.0
