"""The rings of one object, of its arcs: an outer one and one for each hole, with the object on the left of a map whose
rows go down."""

from __future__ import annotations

import math

import numpy as np

from seg_batch.core.kernels.compiled import kernel
from seg_batch.core.outlines.state import AFTER, FIRST, HEAD, LAST, NEXT, X, Y

_TURN = 2 * math.pi
_FEW = 12  # half arcs that are looked through faster than sorted


@kernel
def halves_of(points, arcs, objects, o):
    """How many half arcs an object has, and how many corners they have together."""
    n = corners = 0
    half = objects[o, HEAD]
    while half >= 0:
        n += 1
        k = arcs[half >> 1, FIRST]
        while k >= 0:
            corners += 1
            k = points[k, AFTER]
        half = arcs[half >> 1, NEXT + (half & 1)]
    return n, corners


@kernel
def gather(points, arcs, objects, o, work):
    """The half arcs of an object, and their ends, in order."""
    halves, starts, ends, used = work.halves, work.starts, work.ends, work.used
    half, n = objects[o, HEAD], 0
    while half >= 0:
        a, back = half >> 1, half & 1
        k, j = arcs[a, FIRST], arcs[a, LAST]
        one, other = (
            np.int64(points[k, Y]) << 32 | points[k, X],
            np.int64(points[j, Y]) << 32 | points[j, X],
        )
        halves[n], used[n] = half, 0
        starts[n], ends[n] = (other, one) if back else (one, other)
        n += 1
        half = arcs[a, NEXT + back]
    return n


@kernel
def rings_of(points, arcs, n, work, keep_all):
    """Chain ``n`` half arcs to rings in ``work.x`` and ``work.y``, each closed by its first corner; ``work.begins``: where each
    begins. How many there are. Corners on a straight line are left out unless ``keep_all``."""
    halves, starts, ends, used = work.halves, work.starts, work.ends, work.used
    xs, ys, begins, order = work.x, work.y, work.begins, work.order
    if n > _FEW:
        order[:n] = np.argsort(starts[:n])
    count = size = 0
    begins[0] = 0
    for seed in range(n):
        if used[seed]:
            continue
        h = seed
        while not used[h]:
            used[h] = 1
            size = _append(points, arcs, halves[h], xs, ys, size)
            if ends[h] != starts[seed] or starts[h] != ends[h]:
                h = _next(points, arcs, halves, starts, ends[h], order, n, h)
        size = _closed(xs, ys, begins[count], size, keep_all)
        count += 1
        begins[count] = size
    return count


@kernel
def _append(points, arcs, half, xs, ys, size):
    """The corners of a half arc but for the last."""
    k, begin = arcs[half >> 1, FIRST], size
    while k >= 0:
        xs[size], ys[size] = points[k, X], points[k, Y]
        size += 1
        k = points[k, AFTER]
    if half & 1:
        _reverse(xs, begin, size)
        _reverse(ys, begin, size)
    return size - 1


@kernel
def _reverse(values, begin, end):
    end -= 1
    while begin < end:
        values[begin], values[end] = values[end], values[begin]
        begin += 1
        end -= 1


@kernel
def _next(points, arcs, halves, starts, at, order, n, h):
    """The half arc that goes on where another ends: of two that which turns away from the object, so that no ring meets
    itself."""
    one, other = -1, -1
    if n <= _FEW:
        for i in range(n):
            if starts[i] == at:
                one, other = i, one
    else:
        low, high = 0, n
        while low < high:
            middle = (low + high) >> 1
            if starts[order[middle]] < at:
                low = middle + 1
            else:
                high = middle
        one = order[low]
        if low + 1 < n and starts[order[low + 1]] == at:
            other = order[low + 1]
    if other < 0:
        return one
    x, y = at & 0xFFFFFFFF, at >> 32
    k = _neighbour(points, arcs, halves[h] ^ 1)
    dx, dy = points[k, X] - x, points[k, Y] - y
    first = _angle(points, arcs, halves[one], x, y, dx, dy)
    return one if first < _angle(points, arcs, halves[other], x, y, dx, dy) else other


@kernel
def _angle(points, arcs, half, x, y, dx, dy):
    """From the way that came to the one that leaves, on the side away from the object."""
    k = _neighbour(points, arcs, half)
    ox, oy = points[k, X] - x, points[k, Y] - y
    angle = -math.atan2(float(dx * oy - dy * ox), float(dx * ox + dy * oy))
    return angle if angle > 0 else angle + _TURN


@kernel
def _neighbour(points, arcs, half):
    """The second corner of a half arc."""
    a = half >> 1
    k = arcs[a, FIRST]
    if half & 1:
        while points[k, AFTER] != arcs[a, LAST]:
            k = points[k, AFTER]
        return k
    return points[k, AFTER]


@kernel
def _closed(xs, ys, begin, size, keep_all):
    """Drop what lies on straight lines of the ring from ``begin`` on, and repeat its first corner. The new size."""
    kept = begin
    last_x, last_y, first_x, first_y = xs[size - 1], ys[size - 1], xs[begin], ys[begin]
    for i in range(begin, size):
        x, y = xs[i], ys[i]
        after_x, after_y = (xs[i + 1], ys[i + 1]) if i + 1 < size else (first_x, first_y)
        straight = (last_x == x and x == after_x) or (last_y == y and y == after_y)
        if keep_all or not straight:
            xs[kept], ys[kept] = x, y
            kept += 1
        last_x, last_y = x, y
    xs[kept], ys[kept] = xs[begin], ys[begin]
    return kept + 1


@kernel
def twice_area(xs, ys, begin, end):
    """Twice the area within a ring; below 0 for a hole."""
    total = np.int64(0)
    for i in range(begin, end - 1):
        total += np.int64(xs[i + 1]) * ys[i] - np.int64(xs[i]) * ys[i + 1]
    return total
