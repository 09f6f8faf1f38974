"""The rings of one object, of its arcs: an outer one and one for each hole, with the object on the left of a map whose
rows go down."""

from __future__ import annotations

import math

import numpy as np

from seg_batch.core.kernels.compiled import kernel
from seg_batch.core.outlines.state import AFTER, FIRST, HEAD, LAST, NEXT, X, Y

_TURN = 2 * math.pi


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
        half = arcs[(half) >> 1, NEXT + ((half) & 1)]
    return n, corners


@kernel
def gather(points, arcs, objects, o, work):
    """The half arcs of an object, and their ends, in order."""
    half, n = objects[o, HEAD], 0
    while half >= 0:
        a, back = half >> 1, half & 1
        first, last = (arcs[a, LAST], arcs[a, FIRST]) if back else (arcs[a, FIRST], arcs[a, LAST])
        work.halves[n] = half
        work.starts[n] = np.int64(points[first, Y]) << 32 | points[first, X]
        work.ends[n] = np.int64(points[last, Y]) << 32 | points[last, X]
        work.used[n] = 0
        n += 1
        half = arcs[(half) >> 1, NEXT + ((half) & 1)]
    return n


@kernel
def rings_of(points, arcs, n, work, keep_all):
    """Chain ``n`` half arcs to rings in ``work.x`` and ``work.y``, each closed by its first corner; ``work.begins``: where each
    begins. How many there are. Corners on a straight line are left out unless ``keep_all``."""
    order = np.argsort(work.starts[:n]) if n > 2 else np.arange(n)
    count = size = 0
    work.begins[0] = 0
    for seed in range(n):
        if work.used[seed]:
            continue
        h = seed
        while not work.used[h]:
            work.used[h] = 1
            size = _append(points, arcs, work, h, size)
            if work.ends[h] != work.starts[seed] or work.starts[h] != work.ends[h]:
                h = _next(points, arcs, work, order, n, h)
        size = _closed(work, work.begins[count], size, keep_all)
        count += 1
        work.begins[count] = size
    return count


@kernel
def _append(points, arcs, work, h, size):
    """The corners of a half arc but for the last."""
    a, back = work.halves[h] >> 1, work.halves[h] & 1
    k, begin = arcs[a, FIRST], size
    while k >= 0:
        work.x[size], work.y[size] = points[k, X], points[k, Y]
        size += 1
        k = points[k, AFTER]
    if back:
        _reverse(work.x, begin, size)
        _reverse(work.y, begin, size)
    return size - 1


@kernel
def _reverse(values, begin, end):
    end -= 1
    while begin < end:
        values[begin], values[end] = values[end], values[begin]
        begin += 1
        end -= 1


@kernel
def _next(points, arcs, work, order, n, h):
    """The half arc that goes on where another ends: of two that which turns away from the object, so that no ring meets
    itself."""
    key, low, high = work.ends[h], 0, n
    if n <= 2:
        low = 0
        while work.starts[low] != key:
            low += 1
        if low + 1 == n or work.starts[low + 1] != key:
            return low
        return _turning(points, arcs, work, h, low, low + 1)
    while low < high:
        middle = (low + high) >> 1
        if work.starts[order[middle]] < key:
            low = middle + 1
        else:
            high = middle
    if low + 1 < n and work.starts[order[low + 1]] == key:
        return _turning(points, arcs, work, h, order[low], order[low + 1])
    return order[low]


@kernel
def _turning(points, arcs, work, h, one, other):
    at = work.ends[h]
    x, y = at & 0xFFFFFFFF, at >> 32
    a, back = work.halves[h] >> 1, work.halves[h] & 1
    k = points[arcs[a, FIRST], AFTER] if back else _before_last(points, arcs, a)
    dx, dy = points[k, X] - x, points[k, Y] - y
    return (
        one
        if _angle(points, arcs, work, one, x, y, dx, dy)
        < _angle(points, arcs, work, other, x, y, dx, dy)
        else other
    )


@kernel
def _angle(points, arcs, work, h, x, y, dx, dy):
    """From the way that came to the one that leaves, on the side away from the object."""
    a, back = work.halves[h] >> 1, work.halves[h] & 1
    k = _before_last(points, arcs, a) if back else points[arcs[a, FIRST], AFTER]
    ox, oy = points[k, X] - x, points[k, Y] - y
    angle = -math.atan2(float(dx * oy - dy * ox), float(dx * ox + dy * oy))
    return angle if angle > 0 else angle + _TURN


@kernel
def _before_last(points, arcs, a):
    k = arcs[a, FIRST]
    while points[k, AFTER] != arcs[a, LAST]:
        k = points[k, AFTER]
    return k


@kernel
def _closed(work, begin, size, keep_all):
    """Drop what lies on straight lines of the ring from ``begin`` on, and repeat its first corner. The new size."""
    n, kept = size - begin, begin
    last_x, last_y = work.x[size - 1], work.y[size - 1]
    first_x, first_y = work.x[begin], work.y[begin]
    for i in range(n):
        x, y = work.x[begin + i], work.y[begin + i]
        after_x = work.x[begin + i + 1] if i + 1 < n else first_x
        after_y = work.y[begin + i + 1] if i + 1 < n else first_y
        straight = (last_x == x and x == after_x) or (last_y == y and y == after_y)
        if keep_all or not straight:
            work.x[kept], work.y[kept] = x, y
            kept += 1
        last_x, last_y = x, y
    work.x[kept], work.y[kept] = work.x[begin], work.y[begin]
    return kept + 1


@kernel
def twice_area(work, ring):
    """Twice the area within a ring; below 0 for a hole."""
    total = np.int64(0)
    for i in range(work.begins[ring], work.begins[ring + 1] - 1):
        total += np.int64(work.x[i + 1]) * work.y[i] - np.int64(work.x[i]) * work.y[i + 1]
    return total
