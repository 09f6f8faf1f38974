"""Contours of one plane of labels, and labels of contours.

Lines run half way between the centres of voxels inside and of voxels outside, so that a centre never lies on one: to
fill them again by centres gives the same voxels. A region with holes is one line (the keyhole technique, PS3.3
C.8.8.6.3): a channel without width leads to each hole, and cancels when it is filled.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import contourpy
import numpy as np
from scipy import ndimage

_BESIDE = 0.5


def outlines(labels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The label and the closed line of each region of a plane, but of label 0: points ``(n, 2)`` of ``x, y`` in voxels, where
    whole numbers are centres. The last point leads back to the first."""
    for index, box in enumerate(ndimage.find_objects(labels)):
        if box is None:
            continue
        mask = np.pad(labels[box] == index + 1, 1).astype(np.float64)
        start = np.array([box[1].start - 1, box[0].start - 1], np.float64)
        made = contourpy.contour_generator(z=mask, name="serial", fill_type="OuterOffset")
        for points, offsets in zip(*made.filled(_BESIDE, 2.0), strict=True):
            ends = offsets.tolist()
            rings = [points[a : b - 1] for a, b in itertools.pairwise(ends)]
            yield index + 1, _corners(_keyhole(rings)) + start


def _corners(ring: np.ndarray) -> np.ndarray:
    """The points where a closed line turns."""
    before, after = ring - np.roll(ring, 1, 0), np.roll(ring, -1, 0) - ring
    turns = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0] != 0
    return ring[turns]


def _keyhole(rings: Sequence[np.ndarray]) -> np.ndarray:
    """The outer line with a channel to each hole: along the row of its leftmost point, to what line comes next on the left.
    So channels lie within the region, and none meets another. Each ring has a point wherever a row of centres crosses it."""
    if len(rings) == 1:
        return rings[0]
    points, sizes = np.concatenate(rings), [len(ring) for ring in rings]
    starts = np.concatenate([[0], np.cumsum(sizes[:-1])])
    following = np.arange(1, len(points) + 1)
    following[starts + sizes - 1] = starts
    holes = starts[1:] + [int(ring[:, 0].argmin()) for ring in rings[1:]]
    doors = _left_of(points, holes)
    # The way into a hole and back passes both ends of its channel twice: each gets a second entry.
    back = len(points) + np.arange(len(holes))
    out = back + len(holes)
    entries = np.concatenate([np.arange(len(points)), holes, doors])
    following = np.concatenate([following, out, out])
    following[np.argsort(following[: len(points)])[holes]] = back
    following[out] = following[doors]
    following[doors] = holes
    return points[entries[_walk(following)]]


def _left_of(points: np.ndarray, these: np.ndarray) -> np.ndarray:
    """The index of the point next on the left on the row of each of ``these``, where whole ``y`` are rows."""
    crossing = np.flatnonzero(points[:, 1] % 1 == 0)
    in_order = crossing[np.lexsort(points[crossing].T)]
    place = np.empty(len(points), int)
    place[in_order] = np.arange(len(in_order))
    left: np.ndarray = in_order[place[these] - 1]
    return left


def _walk(following: np.ndarray) -> list[int]:
    """Indices from the first on, each followed by what ``following`` says, once around."""
    after: list[int] = following.tolist()
    way = [0]
    while (then := after[way[-1]]) != 0:
        way.append(then)
    return way


def fill(shape: tuple[int, ...], lines: Sequence[np.ndarray]) -> np.ndarray:
    """The mask of the voxels whose centres lie inside of an odd number of closed lines."""
    mask, points = np.zeros(shape, bool), np.concatenate(lines)
    y0, x0 = np.clip(np.floor(points.min(0)[::-1]).astype(int), 0, shape)
    y1, x1 = np.clip(np.ceil(points.max(0)[::-1]).astype(int) + 1, 0, shape)
    toggles = np.zeros((y1 - y0, x1 - x0 + 1), np.int32)
    _cross(
        toggles,
        points - (x0, y0),
        np.concatenate([np.roll(one, -1, 0) for one in lines]) - (x0, y0),
    )
    mask[y0:y1, x0:x1] = np.cumsum(toggles, axis=1)[:, :-1] % 2 == 1
    return mask


def _cross(toggles: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> None:
    """Count, on each row, the edges that run to the left of a column: ``y1 <= row < y2``."""
    swap = (starts[:, 1] > stops[:, 1])[:, None]
    low, high = np.where(swap, stops, starts), np.where(swap, starts, stops)
    first, last = np.ceil(low[:, 1]).astype(int), np.ceil(high[:, 1]).astype(int)
    counts = last - first
    edge = np.repeat(np.arange(len(low)), counts)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    share = (row - low[edge, 1]) / (high[edge, 1] - low[edge, 1])
    column = np.ceil(low[edge, 0] + share * (high[edge, 0] - low[edge, 0])).astype(int)
    rows, columns = toggles.shape
    inside = (row >= 0) & (row < rows)
    np.add.at(toggles, (row[inside], np.clip(column[inside], 0, columns - 1)), 1)
