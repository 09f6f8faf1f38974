"""The sweep over the rows of a map: runs become objects, and the edges between them arcs.

Work is by the runs of a row, after one look at each pixel. What is held and in which order objects are closed depends on the
pixels alone, not on how many rows are given at a time.
"""

from __future__ import annotations

from seg_batch.core.kernels.compiled import kernel
from seg_batch.core.outlines.pools import (
    add_half,
    free_arc,
    free_object,
    new_arc,
    new_object,
    new_point,
    root_of,
    united,
)
from seg_batch.core.outlines.state import (
    AFTER,
    ARCS,
    BORDER,
    CLOSED,
    END_AT,
    FIRST,
    GONE,
    LAST,
    OBJECTS,
    OUTSIDE,
    PIXELS,
    POINTS,
    REFS,
    SCORE,
    SEEN,
    START_AT,
    UNITS,
)

_FAR = 1 << 30


@kernel
def sweep(m, rows, labels, code_of, least, y, begin, areas, area_of, scores, most_closed):
    """Pass rows of ``labels`` from ``begin`` on; ``y``: of row 0. How many were passed in all: fewer where there is no room, or
    ``most_closed`` objects are to be written first.

    ``least``: the least code whose objects are followed. ``areas``: sums of areas along a row, ``(kinds, width + 1)``, or
    empty; ``area_of``: which is that of each row. ``scores``: of each pixel, or empty.
    """
    counts, points, arcs, objects = m.counts, m.points, m.arcs, m.objects
    cells, at, closed, gone = m.cells, m.at, m.closed, m.gone
    for r in range(begin, labels.shape[0]):
        if not _has_room(counts, points, arcs, objects, closed, at.size, most_closed):
            return r
        into = (y + r) & 1
        rows.number[into] = _runs(labels[r], code_of, rows.starts[into], rows.codes[into])
        _connect(counts, objects, arcs, gone, rows, into, least, y + r)
        kind = area_of[r] if areas.size else 0
        _measure(objects, rows, into, y + r, areas, kind, scores, r)
        _trace(counts, points, arcs, objects, cells, at, rows, into, y + r)
        _close(counts, objects, closed, gone, rows, into, y + r, False)
    return labels.shape[0]


@kernel
def end(m, rows, y):
    """Pass below the last row, ``y - 1``."""
    counts, points, arcs, objects = m.counts, m.points, m.arcs, m.objects
    into = y & 1
    rows.number[into] = 0
    rows.codes[into, 0] = OUTSIDE
    _trace(counts, points, arcs, objects, m.cells, m.at, rows, into, y)
    _close(counts, objects, m.closed, m.gone, rows, into, y, True)


@kernel
def _has_room(counts, points, arcs, objects, closed, width, most_closed):
    return (
        counts[CLOSED] < most_closed
        and counts[CLOSED] + width < closed.size
        and counts[POINTS + 2] + 4 * width <= len(points)
        and counts[ARCS + 2] + 2 * width <= len(arcs)
        and counts[OBJECTS + 2] + width <= len(objects)
    )


@kernel
def _runs(line, code_of, starts, codes):
    n, before = 0, line[0]
    code = code_of[before]
    starts[0], codes[0], codes[1] = 0, OUTSIDE, code
    for x in range(1, line.size):
        if line[x] != before:
            before = line[x]
            if code_of[before] != code:
                code = code_of[before]
                n += 1
                starts[n], codes[n + 1] = x, code
    starts[n + 1], codes[n + 2] = line.size, OUTSIDE
    return n + 1


@kernel
def _connect(counts, objects, arcs, gone, rows, into, least, y):
    """Each run of a row gets the object of those above it that have its code."""
    starts, codes, owners = rows.starts[into], rows.codes[into], rows.owners[into]
    above, above_codes = rows.starts[1 - into], rows.codes[1 - into]
    above_owners = rows.owners[1 - into]
    count, i = rows.number[1 - into], 0
    for j in range(rows.number[into]):
        code, root = codes[j + 1], -1
        owners[j + 1] = -1
        if code < least:
            continue
        while i < count and above[i + 1] <= starts[j]:
            i += 1
        k = i
        while k < count and above[k] < starts[j + 1]:
            if above_codes[k + 1] == code:
                other = root_of(objects, above_owners[k + 1])
                root = other if root < 0 else united(counts, objects, arcs, gone, root, other)
            k += 1
        root = root if root >= 0 else new_object(counts, objects, code)
        objects[root, SEEN] = y
        owners[j + 1] = root
    owners[0] = owners[rows.number[into] + 1] = -1


@kernel
def _measure(objects, rows, into, y, areas, kind, scores, r):
    starts, owners = rows.starts[into], rows.owners[into]
    width = starts.size - 1
    for j in range(rows.number[into]):
        if owners[j + 1] < 0:
            continue
        root = root_of(objects, owners[j + 1])
        owners[j + 1] = root
        a, b = starts[j], starts[j + 1]
        objects[root, PIXELS] += b - a
        if areas.size:
            objects[root, UNITS] += areas[kind, b] - areas[kind, a]
        if scores.size:
            for x in range(a, b):
                objects[root, SCORE] += scores[r, x]
        if y == 0 or a == 0 or b == width:
            objects[root, BORDER] = 1


@kernel
def _is_edge(a, b):
    return a != b and (a > 0 or b > 0)


@kernel
def _trace(counts, points, arcs, objects, cells, at, rows, into, y):
    """Carry the arcs through the corners between a row and the one above it."""
    above, below = 1 - into, into
    ends_a = rows.number[above] + 1 if rows.number[above] else 0
    ends_b = rows.number[below] + 1 if rows.number[below] else 0
    i = j = 0
    across = -1  # the arc of the edge that comes from the left
    while i < ends_a or j < ends_b:
        xa = rows.starts[above, i] if i < ends_a else _FAR
        xb = rows.starts[below, j] if j < ends_b else _FAR
        x = min(xa, xb)
        ia, jb = (i + 1 if xa == x else i), (j + 1 if xb == x else j)
        nw, ne = rows.codes[above, i], rows.codes[above, ia]
        sw, se = rows.codes[below, j], rows.codes[below, jb]
        up, down = _is_edge(nw, ne), _is_edge(sw, se)
        left, right = _is_edge(nw, sw), _is_edge(ne, se)
        degree = up + down + left + right
        if degree > 2 or (degree == 2 and min(nw, ne, sw, se) < 0 and _has_none(nw, ne, sw, se)):
            if up:
                sides = rows.owners[above, i], rows.owners[above, ia]
                _finish(counts, points, arcs, objects, cells, at[x], ne < nw, x, y, nw < ne, sides)
            if left:
                sides = rows.owners[above, i], rows.owners[below, j]
                _finish(counts, points, arcs, objects, cells, across, nw < sw, x, y, nw < sw, sides)
            across = _begin(counts, points, arcs, cells, x, y, ne < se) if right else -1
            at[x] = _begin(counts, points, arcs, cells, x, y, se < sw) if down else -1
        elif degree == 2 and not (up and down):
            sides = rows.owners[above, i], rows.owners[above, ia]
            across = _turn(
                counts,
                points,
                arcs,
                objects,
                cells,
                at,
                x,
                y,
                up,
                down,
                left,
                across,
                (nw, ne, sw, se),
                sides,
            )
        i, j = ia, jb


@kernel
def _has_none(nw, ne, sw, se):
    return nw == 0 or ne == 0 or sw == 0 or se == 0


@kernel
def _turn(counts, points, arcs, objects, cells, at, x, y, up, down, left, across, codes, sides):
    """At a corner of two edges; the arc that goes on to the right, or -1."""
    nw, ne, sw, se = codes
    if up and left:
        _join(
            counts, points, arcs, objects, cells, at, at[x], across, ne < nw, x, y, nw < ne, sides
        )
        at[x] = -1
        return -1
    if up:
        arc = at[x]
        _extend(points, arcs, arc, ne < nw, new_point(counts, points, cells, x, y))
        at[x] = -1
        return arc
    if left:
        _extend(points, arcs, across, nw < sw, new_point(counts, points, cells, x, y))
        _place(arcs, at, across, se < sw, x)
        return -1
    arc = new_arc(counts, arcs, new_point(counts, points, cells, x, y))
    arcs[arc, START_AT] = arcs[arc, END_AT] = x
    _place(arcs, at, arc, se < sw, x)
    return arc


@kernel
def _place(arcs, at, arc, forward, x):
    """The open end of an arc goes down at a column. ``forward``: it is its end, not its start."""
    at[x] = arc
    if forward:
        arcs[arc, END_AT] = x
    else:
        arcs[arc, START_AT] = x


@kernel
def _extend(points, arcs, arc, forward, point):
    if forward:
        points[arcs[arc, LAST], AFTER] = point
        arcs[arc, LAST] = point
    else:
        points[point, AFTER] = arcs[arc, FIRST]
        arcs[arc, FIRST] = point


@kernel
def _begin(counts, points, arcs, cells, x, y, forward):
    """An arc that leaves a junction. ``forward``: it starts there."""
    arc = new_arc(counts, arcs, new_point(counts, points, cells, x, y))
    arcs[arc, START_AT], arcs[arc, END_AT] = (-1, x) if forward else (x, -1)
    return arc


@kernel
def _finish(counts, points, arcs, objects, cells, arc, forward, x, y, first_left, sides):
    """An arc comes to a junction. ``first_left``: of the two objects beside it, the first is on its left."""
    _extend(points, arcs, arc, forward, new_point(counts, points, cells, x, y))
    if forward:
        arcs[arc, END_AT] = -1
    else:
        arcs[arc, START_AT] = -1
    _register(objects, arcs, arc, first_left, sides)


@kernel
def _join(
    counts, points, arcs, objects, cells, at, upper, across, forward, x, y, first_left, sides
):
    """Two arcs meet at a corner and become one, or one closes around. ``forward``: ``upper`` comes first."""
    a, b = (upper, across) if forward else (across, upper)
    _extend(points, arcs, a, True, new_point(counts, points, cells, x, y))
    if a == b:
        _extend(points, arcs, a, False, new_point(counts, points, cells, x, y))
        arcs[a, START_AT] = arcs[a, END_AT] = -1
    else:
        points[arcs[a, LAST], AFTER] = arcs[b, FIRST]
        arcs[a, LAST], arcs[a, END_AT] = arcs[b, LAST], arcs[b, END_AT]
        if arcs[b, END_AT] >= 0:
            at[arcs[b, END_AT]] = a
        free_arc(counts, arcs, b)
    _register(objects, arcs, a, first_left, sides)


@kernel
def _register(objects, arcs, arc, first_left, sides):
    """An arc that is done at both ends is one of the objects beside it."""
    if arcs[arc, START_AT] >= 0 or arcs[arc, END_AT] >= 0:
        return
    left, right = sides if first_left else (sides[1], sides[0])
    if left >= 0:
        add_half(objects, arcs, root_of(objects, left), 2 * arc)
        arcs[arc, REFS] += 1
    if right >= 0:
        add_half(objects, arcs, root_of(objects, right), 2 * arc + 1)
        arcs[arc, REFS] += 1


@kernel
def _close(counts, objects, closed, gone, rows, into, y, last):
    """Objects of the row above without a run in this are closed, from left to right."""
    for i in range(rows.number[1 - into]):
        if rows.owners[1 - into, i + 1] < 0:
            continue
        root = root_of(objects, rows.owners[1 - into, i + 1])
        if objects[root, SEEN] != y:
            objects[root, SEEN] = y
            objects[root, BORDER] |= last
            closed[counts[CLOSED]] = root
            counts[CLOSED] += 1
    for j in range(rows.number[into]):
        if rows.owners[into, j + 1] >= 0:
            rows.owners[into, j + 1] = root_of(objects, rows.owners[into, j + 1])
    for k in range(counts[GONE]):
        free_object(counts, objects, gone[k])
    counts[GONE] = 0
