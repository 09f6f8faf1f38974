"""Connected components of equal labels, all labels in one pass.

Two voxels belong to one component when a path of voxels of the same label, each sharing a face with
the next (4 neighbours in 2-D, 6 in 3-D), joins them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


@dataclass(frozen=True)
class Components:
    """The components of an array: ``ids`` (its shape, int32, 0 .. n-1 in the order of their first
    voxels), and of each its label, its size in voxels, the sum of its voxels' areas (without such: its size)
    and the flat index of its first voxel."""

    ids: np.ndarray
    labels: np.ndarray
    sizes: np.ndarray
    areas: np.ndarray
    first: np.ndarray


def components(labels: np.ndarray, areas: np.ndarray | None = None) -> Components:
    """The components of an array of rank 2 or more; no data makes components like any label. ``areas``:
    int64, of each voxel.

    Runs of one label along the last axis are the nodes of a graph; runs of one label side by side
    are joined, by one edge where they begin to touch. One pass for all labels, where
    ``scipy.ndimage.label`` would need one for each.
    """
    labels = np.ascontiguousarray(labels)
    begins = np.ones(labels.shape, bool)
    np.not_equal(labels[..., 1:], labels[..., :-1], out=begins[..., 1:])
    where = np.flatnonzero(begins)
    lengths = np.diff(where, append=labels.size)
    runs = np.repeat(np.arange(len(where), dtype=np.int32), lengths).reshape(labels.shape)
    pairs = []
    for axis in range(labels.ndim - 1):
        low, high = sides(labels.ndim, axis)
        meet = (labels[low] == labels[high]) & (begins[low] | begins[high])
        pairs.append(np.stack([runs[low][meet], runs[high][meet]]))
    component = union_find(len(where), np.concatenate(pairs, 1))  # of each run
    n = int(component.max()) + 1
    sizes = np.bincount(component, lengths, n).astype(np.int64)
    total = sizes
    if areas is not None:
        total = np.zeros(n, np.int64)
        np.add.at(total, component, np.add.reduceat(areas.reshape(-1), where))
    first = np.empty(n, np.int64)
    first[component[::-1]] = where[::-1]  # the last value written to a place stays: the first run
    return Components(component[runs], labels.reshape(-1)[first], sizes, total, first)


def sides(rank: int, axis: int, away: int = 1) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Slices of all voxels with another one ``away`` voxels after them along ``axis``, and of these."""
    low, high = ([slice(None)] * rank for _ in range(2))
    low[axis], high[axis] = slice(None, -away), slice(away, None)
    return tuple(low), tuple(high)


def union_find(n: int, pairs: np.ndarray) -> np.ndarray:
    """int32 ``(n,)``: a number for each set of the nodes ``0 .. n-1`` that ``pairs`` (2, m) join, in
    the order of their smallest nodes."""
    graph = coo_array((np.ones(pairs.shape[1], np.int8), tuple(pairs)), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1])
