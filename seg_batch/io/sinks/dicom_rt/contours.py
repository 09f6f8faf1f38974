"""Contours of one plane of labels, and labels of contours.

Lines run half way between the centres of voxels inside and of voxels outside, so that a centre never lies on one: to
fill them again by centres gives the same voxels. A region with holes is one line (the keyhole technique, PS3.3
C.8.8.6.3): a channel without width leads to each hole, and cancels when it is filled.
"""

from __future__ import annotations

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
            rings = [
                _corners(points[a : b - 1])
                for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
            ]
            yield index + 1, _keyhole(rings) + start


def _corners(ring: np.ndarray) -> np.ndarray:
    """The points where a closed line turns."""
    before, after = ring - np.roll(ring, 1, 0), np.roll(ring, -1, 0) - ring
    turns = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0] != 0
    return ring[turns]


def _keyhole(rings: Sequence[np.ndarray]) -> np.ndarray:
    """The outer line with each hole cut open at its point that lies nearest."""
    line, *holes = rings
    for hole in holes:
        apart = ((line[:, None] - hole[None]) ** 2).sum(-1)
        at, to = np.unravel_index(int(apart.argmin()), apart.shape)
        there = np.roll(hole, -int(to), 0)
        line = np.concatenate([line[: at + 1], there, there[:1], line[at:]])
    return line


def fill(shape: tuple[int, ...], lines: Sequence[np.ndarray]) -> np.ndarray:
    """The mask of the voxels whose centres lie inside of an odd number of closed lines."""
    mask, points = np.zeros(shape, bool), np.concatenate(lines)
    y0, x0 = np.clip(np.floor(points.min(0)[::-1]).astype(int), 0, shape)
    y1, x1 = np.clip(np.ceil(points.max(0)[::-1]).astype(int) + 1, 0, shape)
    toggles = np.zeros((y1 - y0, x1 - x0 + 1), np.int32)
    for line in lines:
        here = line - (x0, y0)
        _cross(toggles, here, np.roll(here, -1, 0))
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
