"""One arc with fewer corners, so that objects on both sides keep one line, and no line touches another.

Douglas and Peucker's choice of corners, from the two ends of an arc, which stay. A stretch is replaced by its chord where
all its corners lie within the tolerance of that, and no other corner lies in between or on the chord: then nothing crosses it, as all lines are
straight between corners (Saalfeld 1999). The corners of all that may lie there are held, since the objects on both
sides are. An arc with inner corners keeps one at least, and so has each half of a ring, so that nothing collapses.
"""

from __future__ import annotations

import numpy as np

from seg_batch.core.kernels.compiled import kernel
from seg_batch.core.outlines.pools import free_point
from seg_batch.core.outlines.state import AFTER, CELL_BITS, FIRST, IN_CELL, MARK, SETTLED, X, Y

_MOST_CELLS = 256  # of the index that a chord is checked against; longer ones are divided


@kernel
def settle(counts, points, arcs, cells, arc, work, metric, tolerance):
    """Simplify an arc for good."""
    arcs[arc, SETTLED] = 1
    n, k = 0, arcs[arc, FIRST]
    while k >= 0:
        work.corners[n] = k
        points[k, MARK] = n
        work.keep[n] = 0
        n += 1
        k = points[k, AFTER]
    if n > 2:
        _choose(points, cells, work, n, metric, tolerance)
        _drop(counts, points, cells, arc, work, n)
    k = arcs[arc, FIRST]
    while k >= 0:
        points[k, MARK] = -1
        k = points[k, AFTER]


@kernel
def _choose(points, cells, work, n, metric, tolerance):
    p = work.corners
    work.keep[0] = work.keep[n - 1] = 1
    around = points[p[0], X] == points[p[n - 1], X] and points[p[0], Y] == points[p[n - 1], Y]
    size = 0
    if around:
        middle, _ = _farthest(points, p, 0, n - 1, metric)
        work.keep[middle] = 1
        size = _push_halves(points, work, 0, middle, size, metric)
        size = _push_halves(points, work, middle, n - 1, size, metric)
    else:
        size = _push_halves(points, work, 0, n - 1, size, metric)
    while size:
        size -= 2
        a, b = work.stack[size], work.stack[size + 1]
        if b - a < 2:
            continue
        middle, off = _farthest(points, p, a, b, metric)
        if off <= tolerance * tolerance and _is_free(points, cells, p, a, b):
            continue
        work.keep[middle] = 1
        size = _push(work, a, middle, size)
        size = _push(work, middle, b, size)


@kernel
def _push(work, a, b, size):
    work.stack[size], work.stack[size + 1] = a, b
    return size + 2


@kernel
def _push_halves(points, work, a, b, size, metric):
    """A stretch of which one inner corner stays."""
    if b - a < 2:
        return size
    middle, _ = _farthest(points, work.corners, a, b, metric)
    work.keep[middle] = 1
    return _push(work, middle, b, _push(work, a, middle, size))


@kernel
def _farthest(points, p, a, b, metric):
    """The inner corner farthest from the chord, the first of several, and the square of its distance."""
    ax, ay = points[p[a], X], points[p[a], Y]
    cx, cy = _metres(metric, points[p[b], X] - ax, points[p[b], Y] - ay)
    length = cx * cx + cy * cy
    most, at = -1.0, a + 1
    for i in range(a + 1, b):
        x, y = _metres(metric, points[p[i], X] - ax, points[p[i], Y] - ay)
        along = (x * cx + y * cy) / length if length > 0 else 0.0
        along = min(max(along, 0.0), 1.0)
        dx, dy = x - along * cx, y - along * cy
        off = dx * dx + dy * dy
        if off > most:
            most, at = off, i
    return at, most


@kernel
def _metres(metric, x, y):
    return metric[0] * x + metric[1] * y, metric[2] * x + metric[3] * y


@kernel
def _is_free(points, cells, p, a, b):
    """Whether no other corner lies between a stretch and its chord."""
    low_x = high_x = points[p[a], X]
    low_y = high_y = points[p[a], Y]
    for i in range(a + 1, b + 1):
        low_x, high_x = min(low_x, points[p[i], X]), max(high_x, points[p[i], X])
        low_y, high_y = min(low_y, points[p[i], Y]), max(high_y, points[p[i], Y])
    left, right = low_x >> CELL_BITS, high_x >> CELL_BITS
    top, bottom = low_y >> CELL_BITS, high_y >> CELL_BITS
    if (right - left + 1) * (bottom - top + 1) > _MOST_CELLS:
        return False
    for cy in range(top, bottom + 1):
        for cx in range(left, right + 1):
            k = cells[_cell(cells, cx, cy)]
            while k >= 0:
                x, y = points[k, X], points[k, Y]
                inside = low_x <= x <= high_x and low_y <= y <= high_y
                own = a <= points[k, MARK] <= b
                if (
                    inside
                    and not own
                    and not _is_end(points, p, a, b, x, y)
                    and _between(points, p, a, b, x, y)
                ):
                    return False
                k = points[k, IN_CELL]
    return True


@kernel
def _cell(cells, cx, cy):
    return (cx * 73856093 ^ cy * 19349663) & (cells.size - 1)


@kernel
def _is_end(points, p, a, b, x, y):
    return (points[p[a], X] == x and points[p[a], Y] == y) or (
        points[p[b], X] == x and points[p[b], Y] == y
    )


@kernel
def _between(points, p, a, b, x, y):
    """Whether a stretch and its chord wind around a corner, or it lies on the chord."""
    winding = 0
    for i in range(a, b + 1):
        j = i + 1 if i < b else a
        ax, ay = np.int64(points[p[i], X]), np.int64(points[p[i], Y])
        bx, by = np.int64(points[p[j], X]), np.int64(points[p[j], Y])
        side = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
        if side == 0 and min(ax, bx) <= x <= max(ax, bx) and min(ay, by) <= y <= max(ay, by):
            return True
        if ay <= y < by and side > 0:
            winding += 1
        elif by <= y < ay and side < 0:
            winding -= 1
    return winding != 0


@kernel
def _drop(counts, points, cells, arc, work, n):
    """Take out what is not kept."""
    before = work.corners[0]
    for i in range(1, n):
        k = work.corners[i]
        if work.keep[i]:
            points[before, AFTER] = k
            before = k
        else:
            free_point(counts, points, cells, k)
