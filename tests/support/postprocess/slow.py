"""Every step of the chain on the whole array, in the most obvious way: what blocks must equal."""

from collections import Counter

import numpy as np
from scipy import ndimage


def objects(labels):
    """``(label, mask)`` of every component, by SciPy, one label after another."""
    for label in np.unique(labels):
        found, n = ndimage.label(labels == label)
        for k in range(1, n + 1):
            yield int(label), found == k


def neighbours(labels, mask):
    """Labels behind the faces of a mask, one entry per face; None beyond the border."""
    for place in zip(*np.nonzero(mask), strict=True):
        for axis in range(labels.ndim):
            for by in (-1, 1):
                there = list(place)
                there[axis] += by
                if not 0 <= there[axis] < labels.shape[axis]:
                    yield None, None
                elif not mask[tuple(there)]:
                    yield int(labels[tuple(there)]), tuple(there)


def without(labels, removed, setting):
    """The map with the background, or the label most faces border on, where masks are removed."""
    gone = np.zeros(labels.shape, bool)
    for mask in removed:
        gone |= mask
    result = labels.copy()
    for mask in removed:
        if setting.background is not None:
            result[mask] = setting.background
            continue
        seen = neighbours(labels, mask)
        count = Counter(n for n, at in seen if n not in (None, setting.nodata) and not gone[at])
        if count:
            result[mask] = min(count, key=lambda n: (-count[n], n))
    return result


def min_size(labels, least, setting):
    small = [
        mask
        for label, mask in objects(labels)
        if label in least and label != setting.background and mask.sum() < least[label]
    ]
    return without(labels, small, setting)


def largest(labels, wanted, setting):
    removed = []
    for label in wanted:
        masks = [mask for found, mask in objects(labels) if found == label]
        masks.sort(key=lambda mask: (-mask.sum(), np.flatnonzero(mask)[0]))
        removed += masks[1:]
    return without(labels, removed, setting)


def fill_holes(labels, wanted, setting):
    result = labels.copy()
    for label, mask in objects(labels):
        if label == setting.background:
            around = {n for n, _ in neighbours(labels, mask)}
            if len(around) == 1 and around <= set(wanted):
                result[mask] = around.pop()
    return result


def majority(labels, side, setting):
    result, half = labels.copy(), side // 2
    for place in np.ndindex(labels.shape):
        if labels[place] == setting.nodata:
            continue
        near = labels[tuple(slice(max(0, p - half), p + half + 1) for p in place)]
        count = Counter(near[near != setting.nodata].tolist()).most_common(2)
        if len(count) == 1 or count[0][1] > count[1][1]:
            result[place] = count[0][0]
    return result


def threshold(labels, probabilities, limits, setting):
    """``limits``: threshold or None by place of the class."""
    ids = list(setting.ids.values())
    result = labels.copy()
    for place in np.ndindex(labels.shape):
        q = probabilities[(slice(None), *place)].astype(float)
        if labels[place] == setting.nodata or not q.any():
            continue
        passed = [k for k, t in enumerate(limits) if t is not None and q[k] >= 255 * t]
        free = [k for k, t in enumerate(limits) if t is None]
        if passed:
            result[place] = ids[
                max(passed, key=lambda k: (np.float32(q[k]) / np.float32(255 * limits[k]), -k))
            ]
        elif free:
            result[place] = ids[max(free, key=lambda k: (q[k], -k))]
        elif setting.background is not None:
            result[place] = setting.background
    return result
