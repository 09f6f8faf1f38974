"""Corners, arcs and objects, given out and taken back."""

from __future__ import annotations

from seg_batch.core.kernels.compiled import kernel
from seg_batch.core.outlines.state import (
    AFTER,
    ARCS,
    BORDER,
    CELL_BITS,
    CODE,
    FIRST,
    GONE,
    HEAD,
    IN_CELL,
    LAST,
    MARK,
    NEXT,
    OBJECTS,
    PARENT,
    PIXELS,
    POINTS,
    REFS,
    SCORE,
    SEEN,
    SETTLED,
    TAIL,
    UNITS,
    X,
    Y,
)


@kernel
def cell_of(cells, x, y):
    """The place in the index of the cell of a corner."""
    return ((x >> CELL_BITS) * 73856093 ^ (y >> CELL_BITS) * 19349663) & (cells.size - 1)


@kernel
def new_point(counts, points, cells, x, y):
    k = counts[POINTS]
    if k >= 0:
        counts[POINTS] = points[k, AFTER]
    else:
        k = counts[POINTS + 1]
        counts[POINTS + 1] += 1
    counts[POINTS + 2] += 1
    points[k, X], points[k, Y], points[k, AFTER] = x, y, -1
    if cells.size > 1:
        cell = cell_of(cells, x, y)
        points[k, IN_CELL] = cells[cell]
        cells[cell] = k
        points[k, MARK] = -1
    return k


@kernel
def free_point(counts, points, cells, k):
    if cells.size > 1:
        cell = cell_of(cells, points[k, X], points[k, Y])
        other = cells[cell]
        if other == k:
            cells[cell] = points[k, IN_CELL]
        else:
            while points[other, IN_CELL] != k:
                other = points[other, IN_CELL]
            points[other, IN_CELL] = points[k, IN_CELL]
    points[k, X], points[k, AFTER] = -1, counts[POINTS]
    counts[POINTS] = k
    counts[POINTS + 2] -= 1


@kernel
def new_arc(counts, arcs, point):
    """With one corner; its ends are given by who makes it."""
    a = counts[ARCS]
    if a >= 0:
        counts[ARCS] = arcs[a, FIRST]
    else:
        a = counts[ARCS + 1]
        counts[ARCS + 1] += 1
    counts[ARCS + 2] += 1
    arcs[a, FIRST] = arcs[a, LAST] = point
    arcs[a, REFS] = arcs[a, SETTLED] = 0
    return a


@kernel
def free_arc(counts, arcs, a):
    """The arc alone; its corners are another's."""
    arcs[a, FIRST] = counts[ARCS]
    counts[ARCS] = a
    counts[ARCS + 2] -= 1


@kernel
def release(counts, points, arcs, cells, a):
    """One object less needs an arc."""
    arcs[a, REFS] -= 1
    if arcs[a, REFS] == 0:
        k = arcs[a, FIRST]
        while k >= 0:
            following = points[k, AFTER]
            free_point(counts, points, cells, k)
            k = following
        free_arc(counts, arcs, a)


@kernel
def new_object(counts, objects, code):
    o = counts[OBJECTS]
    if o >= 0:
        counts[OBJECTS] = objects[o, PARENT]
    else:
        o = counts[OBJECTS + 1]
        counts[OBJECTS + 1] += 1
    counts[OBJECTS + 2] += 1
    objects[o, PARENT], objects[o, CODE], objects[o, SEEN] = o, code, -1
    objects[o, HEAD] = objects[o, TAIL] = -1
    objects[o, PIXELS] = objects[o, UNITS] = objects[o, SCORE] = 0
    objects[o, BORDER] = 0
    return o


@kernel
def free_object(counts, objects, o):
    objects[o, PARENT] = counts[OBJECTS]
    counts[OBJECTS] = o
    counts[OBJECTS + 2] -= 1


@kernel
def root_of(objects, o):
    while objects[o, PARENT] != o:
        objects[o, PARENT] = objects[objects[o, PARENT], PARENT]
        o = objects[o, PARENT]
    return o


@kernel
def united(counts, objects, arcs, gone, a, b):
    """Two roots become one, which is the first of them."""
    if a == b:
        return a
    objects[b, PARENT] = a
    objects[a, PIXELS] += objects[b, PIXELS]
    objects[a, UNITS] += objects[b, UNITS]
    objects[a, SCORE] += objects[b, SCORE]
    objects[a, BORDER] |= objects[b, BORDER]
    if objects[b, HEAD] >= 0:
        if objects[a, HEAD] < 0:
            objects[a, HEAD] = objects[b, HEAD]
        else:
            arcs[objects[a, TAIL] >> 1, NEXT + (objects[a, TAIL] & 1)] = objects[b, HEAD]
        objects[a, TAIL] = objects[b, TAIL]
    gone[counts[GONE]] = b
    counts[GONE] += 1
    return a


@kernel
def add_half(objects, arcs, o, half):
    """Add a half arc to a root."""
    arcs[half >> 1, NEXT + (half & 1)] = -1
    if objects[o, HEAD] < 0:
        objects[o, HEAD] = half
    else:
        arcs[objects[o, TAIL] >> 1, NEXT + (objects[o, TAIL] & 1)] = half
    objects[o, TAIL] = half


@kernel
def index_all(counts, points, cells):
    """Put all corners of arcs in the index, which is empty."""
    for k in range(counts[POINTS + 1]):
        if points[k, X] >= 0:
            cell = cell_of(cells, points[k, X], points[k, Y])
            points[k, IN_CELL] = cells[cell]
            cells[cell] = k
