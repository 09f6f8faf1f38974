"""The majority filter: each voxel takes the label that most voxels around it have."""

from __future__ import annotations

import numpy as np

from seg_batch.inference.postprocess.components import sides


def majority(labels: np.ndarray, side: int, nodata: int) -> np.ndarray:
    """With ``n_l`` the voxels of label ``l`` among the ``side ** rank`` around a voxel::

        new = l        where n_l > n_m for every other label m
              its own  where two labels have as many

    Voxels outside the array and those without data do not count; the latter stay.
    """
    most = np.zeros(labels.shape, np.min_scalar_type(side**labels.ndim))
    winner, tied = labels.copy(), np.zeros(labels.shape, bool)
    for label in np.unique(labels):
        if label == nodata:
            continue
        count = _counted(labels == label, side, most.dtype)
        more = count > most
        tied = (tied & ~more) | (count == most)
        winner[more] = label
        np.maximum(most, count, out=most)
    keep = tied | (labels == nodata)
    winner[keep] = labels[keep]
    return winner


def _counted(here: np.ndarray, side: int, dtype: np.dtype) -> np.ndarray:
    """How many voxels of the centred cube of ``side`` are True: sums along one axis after another."""
    count = here.astype(dtype)
    for axis in range(here.ndim):
        total = count.copy()
        for away in range(1, side // 2 + 1):
            low, high = sides(here.ndim, axis, away)
            total[low] += count[high]
            total[high] += count[low]
        count = total
    return count
