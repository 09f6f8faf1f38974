"""What a sweep holds of the rows it has passed: corners, arcs and objects that are not finished.

A corner is a point of the lattice between pixels. An arc is a chain of corners between two junctions, where more than two
objects or both sides of a corner meet, or one around. It is directed: the smaller code lies on its left, as seen on a map
whose rows go down. So arcs are joined without being turned. An object is a root of a union-find over runs of pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Places in ``State.counts``. Of corners, arcs and objects: the first free one, how many were ever given out, how many are in use.
POINTS, ARCS, OBJECTS = 0, 3, 6
CLOSED, GONE = 9, 10
# Columns of the corners, the arcs and the objects.
X, Y, AFTER, IN_CELL, MARK = range(5)
FIRST, LAST, START_AT, END_AT, NEXT, _, REFS, SETTLED = range(8)
PARENT, CODE, SEEN, HEAD, TAIL, BORDER, PIXELS, UNITS, SCORE = range(9)
OUTSIDE = -1  # the code of what lies beside the raster; 0: of pixels that get no polygon
CELL_BITS = 4  # corners of so many bits per axis lie in one cell of the index


class State(NamedTuple):
    """Arrays, of which corners, arcs and objects grow.

    Of each corner (``points``): ``X`` and ``Y``, -1 where it is free; ``AFTER``, the next of its arc; where arcs are
    simplified ``IN_CELL``, the next in its cell of the index ``cells``, and ``MARK``, its place in the arc at hand.

    Of an arc: its ``FIRST`` and ``LAST`` corner; ``START_AT`` and ``END_AT``, the column at which that end is still open, -1
    where it is done; ``NEXT`` and the one behind it, the next half arc of the object on its left and of that on its right;
    ``REFS``, how many objects still need it; ``SETTLED``, whether it is simplified. Half arc ``2 a`` is the left side of arc ``a``.

    Of an object: its ``PARENT``, itself for a root; ``CODE``; ``SEEN``, its last row; ``HEAD`` and ``TAIL`` of its half
    arcs; ``BORDER``, whether it touches that of the raster; ``PIXELS``, ``UNITS`` of area and ``SCORE``, which are sums.

    ``at``: the arc of the vertical edge at each column. ``closed``: objects to be written. ``gone``: objects that became part of
    others in this row."""

    counts: np.ndarray
    points: np.ndarray
    arcs: np.ndarray
    objects: np.ndarray
    cells: np.ndarray
    at: np.ndarray
    closed: np.ndarray
    gone: np.ndarray


class Rows(NamedTuple):
    """The runs of two rows in turn, ``(2, ...)``: where each begins, with the end behind; its code and object, with one
    for the outside before and behind."""

    starts: np.ndarray
    codes: np.ndarray
    owners: np.ndarray
    number: np.ndarray


def empty_state(width: int, simplified: bool) -> State:
    counts = np.zeros(11, np.int64)
    counts[[POINTS, ARCS, OBJECTS]] = -1
    state = State(
        counts=counts,
        points=np.zeros((1, 5 if simplified else 3), np.int32),
        arcs=np.zeros((1, 8), np.int32),
        objects=np.zeros((1, 9), np.int64),
        cells=np.full(1 << 16 if simplified else 1, -1, np.int32),
        at=np.full(width + 1, -1, np.int32),
        closed=np.zeros(2 * width + (1 << 16), np.int32),
        gone=np.zeros(width + 1, np.int32),
    )
    return roomy(state, width)


def empty_rows(width: int) -> Rows:
    starts = np.zeros((2, width + 1), np.int32)
    codes = np.full((2, width + 2), OUTSIDE, np.int32)
    return Rows(starts, codes, np.full((2, width + 2), -1, np.int32), np.zeros(2, np.int64))


def roomy(state: State, width: int) -> State:
    """With room for all that one more row of ``width`` pixels can add."""
    return state._replace(
        points=_grown(state.points, state.counts[POINTS + 2] + 4 * (width + 1)),
        arcs=_grown(state.arcs, state.counts[ARCS + 2] + 2 * (width + 1)),
        objects=_grown(state.objects, state.counts[OBJECTS + 2] + width + 1),
    )


def _grown(rows: np.ndarray, needed: int) -> np.ndarray:
    size = len(rows)
    if size >= needed:
        return rows
    longer = np.zeros((max(int(needed), size + size // 2), rows.shape[1]), rows.dtype)
    longer[:size] = rows
    return longer
