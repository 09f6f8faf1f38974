"""The label of a removed object where a model has no background: its neighbours vote.

Each face between a voxel of the object and a voxel of an object that is not removed is one vote for
the label behind it; most votes win, of equals the smallest label. Voxels without data and other removed
objects have no vote; an object that gets none stays as it is.
"""

from __future__ import annotations

import numpy as np

from seg_batch.inference.postprocess.component_merge import LocalComponents, Merged
from seg_batch.inference.postprocess.components import sides

_LABELS = 1 << 16  # above every label


def votes(part: LocalComponents, removed: np.ndarray, nodata: int) -> np.ndarray:
    """int64 ``(3, n)``: component, label, number of votes, of all votes within the block.

    ``removed``: bool, for each component of the block.
    """
    ids, labels = part.components.ids, part.labels
    gone, empty = removed[ids], labels == nodata
    keys = []
    for axis in range(ids.ndim):
        low, high = sides(ids.ndim, axis)
        for here, there in ((low, high), (high, low)):
            counted = gone[here] & ~gone[there] & ~empty[there]
            keys.append(ids[here][counted].astype(np.int64) * _LABELS + labels[there][counted])
    ballots, counts = np.unique(np.concatenate(keys), return_counts=True)
    return np.stack([*np.divmod(ballots, _LABELS), counts])


def votes_across_faces(merged: Merged, removed: np.ndarray, nodata: int) -> np.ndarray:
    """The same across the faces of blocks, components numbered as in ``merged.facts``."""
    first, second, counts = merged.contacts
    ballots = []
    for a, b in ((first, second), (second, first)):
        a, b = merged.roots[a], merged.roots[b]
        counted = removed[a] & ~removed[b] & (merged.facts.label[b] != nodata)
        ballots.append(np.stack([a[counted], merged.facts.label[b][counted], counts[counted]]))
    return np.concatenate(ballots, 1)


def elect(ballots: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The label each component gets, ``own`` for those without a vote; ``ballots`` ``(3, n)``: rows
    of component, label, votes, in any order and any number of parts."""
    component, label, count = ballots
    keys, place = np.unique(component * _LABELS + label, return_inverse=True)
    total = np.bincount(place, count, len(keys)).astype(np.int64)
    component, label = np.divmod(keys, _LABELS)
    order = np.lexsort((label, -total, component))
    winner, first = np.unique(component[order], return_index=True)
    result = own.astype(np.int32)
    result[winner] = label[order][first]
    return result
