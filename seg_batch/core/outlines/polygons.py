"""Closed objects become polygons, as well-known binary, and what they held is given back."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from seg_batch.core.kernels.compiled import kernel
from seg_batch.core.outlines.pools import free_object, release
from seg_batch.core.outlines.rings import gather, halves_of, rings_of, twice_area
from seg_batch.core.outlines.simplify import settle
from seg_batch.core.outlines.state import (
    BORDER,
    CLOSED,
    CODE,
    HEAD,
    NEXT,
    PIXELS,
    SCORE,
    SETTLED,
    UNITS,
)

HALVES, CORNERS, BYTES = 0, 1, 2  # places in ``Work.needs``


class Work(NamedTuple):
    """Room for one object at a time: its half arcs, their ends, its rings, and an arc that is simplified. ``needs``: what of it is
    too small, and how large it has to be."""

    needs: np.ndarray
    halves: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    used: np.ndarray
    begins: np.ndarray
    order: np.ndarray
    x: np.ndarray
    y: np.ndarray
    place: np.ndarray
    corners: np.ndarray
    keep: np.ndarray
    stack: np.ndarray


class Batch(NamedTuple):
    """Polygons that are written: their codes, pixels, areas, sums of scores, whether they touch the border, where
    each ends in ``wkb``."""

    written: np.ndarray
    code: np.ndarray
    pixels: np.ndarray
    units: np.ndarray
    score: np.ndarray
    border: np.ndarray
    ends: np.ndarray
    wkb: np.ndarray


def work_for(halves: int, corners: int) -> Work:
    halves, corners = halves + 1, corners + 2
    return Work(
        needs=np.zeros(3, np.int64),
        halves=np.zeros(halves, np.int32),
        starts=np.zeros(halves, np.int64),
        ends=np.zeros(halves, np.int64),
        used=np.zeros(halves, np.uint8),
        begins=np.zeros(halves + 1, np.int64),
        order=np.zeros(halves, np.int64),
        x=np.zeros(corners, np.int32),
        y=np.zeros(corners, np.int32),
        place=np.zeros(2 * corners, np.float64),
        corners=np.zeros(corners, np.int32),
        keep=np.zeros(corners, np.uint8),
        stack=np.zeros(2 * corners, np.int32),
    )


def batch_for(count: int, size: int) -> Batch:
    number = np.zeros(count, np.int64)
    return Batch(
        written=np.zeros(1, np.int64),
        code=np.zeros(count, np.int32),
        pixels=number,
        units=number.copy(),
        score=number.copy(),
        border=np.zeros(count, np.uint8),
        ends=np.zeros(count + 1, np.int64),
        wkb=np.zeros(size, np.uint8),
    )


@kernel
def write(m, begin, work, out, wanted, least, affine, metric, tolerance):
    """Write closed objects from ``begin`` on. How many are done: fewer where ``work.needs`` says what is too small.

    ``wanted``: of each code whether it gets polygons; ``least``: units of area, and pixels, that a polygon has at least; ``metric``: metres per column and row; ``tolerance``: in metres, below 0: nothing is simplified.
    """
    counts, points, arcs, objects, cells = m.counts, m.points, m.arcs, m.objects, m.cells
    for k in range(begin, counts[CLOSED]):
        o = m.closed[k]
        small = objects[o, UNITS] < least[0] or objects[o, PIXELS] < least[1]
        written = wanted[objects[o, CODE]] and not small
        if written or tolerance >= 0:
            n, corners = halves_of(points, arcs, objects, o)
            work.needs[HALVES], work.needs[CORNERS], work.needs[BYTES] = n, corners, 0
            if n >= work.halves.size or corners + 2 > work.x.size:
                return k
        if tolerance >= 0:
            _settle_all(counts, points, arcs, objects, cells, o, work, metric, tolerance)
        if written:
            n = gather(points, arcs, objects, o, work)
            rings = rings_of(points, arcs, n, work, tolerance >= 0)
            size = _size(work, rings)
            at = out.ends[out.written[0]]
            if out.written[0] == out.code.size or at + size > out.wkb.size:
                work.needs[BYTES] = size
                return k
            _note(objects, o, out, at + size)
            _wkb(work, rings, out.wkb[at : at + size], affine)
        _forget(counts, points, arcs, objects, cells, o)
    return counts[CLOSED]


@kernel
def _settle_all(counts, points, arcs, objects, cells, o, work, metric, tolerance):
    half = objects[o, HEAD]
    while half >= 0:
        if not arcs[half >> 1, SETTLED]:
            settle(counts, points, arcs, cells, half >> 1, work, metric, tolerance)
        half = arcs[half >> 1, NEXT + (half & 1)]


@kernel
def _note(objects, o, out, end):
    n = out.written[0]
    out.code[n], out.pixels[n], out.units[n] = (
        objects[o, CODE],
        objects[o, PIXELS],
        objects[o, UNITS],
    )
    out.score[n], out.border[n], out.ends[n + 1] = objects[o, SCORE], objects[o, BORDER], end
    out.written[0] = n + 1


@kernel
def _forget(counts, points, arcs, objects, cells, o):
    half = objects[o, HEAD]
    while half >= 0:
        following = arcs[half >> 1, NEXT + (half & 1)]
        release(counts, points, arcs, cells, half >> 1)
        half = following
    free_object(counts, objects, o)


@kernel
def _size(work, rings):
    return 9 + 4 * rings + 16 * work.begins[rings]


@kernel
def _wkb(work, rings, out, affine):
    xs, ys, place, begins = work.x, work.y, work.place, work.begins
    outer = 0
    while twice_area(xs, ys, begins[outer], begins[outer + 1]) < 0:
        outer += 1
    out[0] = 1
    _put(out, 1, 3)
    _put(out, 5, rings)
    at = _ring(xs, ys, begins[outer], begins[outer + 1], place, out, 9, affine)
    for ring in range(rings):
        if ring != outer:
            at = _ring(xs, ys, begins[ring], begins[ring + 1], place, out, at, affine)


@kernel
def _ring(xs, ys, begin, end, place, out, at, affine):
    """The outer ring goes against the clock on a map that shows north up, holes with it."""
    n = end - begin
    _put(out, at, n)
    a, b, c, d, e, f = affine[0], affine[1], affine[2], affine[3], affine[4], affine[5]
    mirrored = a * e - b * d > 0
    for i in range(n):
        j = end - 1 - i if mirrored else begin + i
        x, y = float(xs[j]), float(ys[j])
        place[2 * i] = a * x + b * y + c
        place[2 * i + 1] = d * x + e * y + f
    coded = place[: 2 * n].view(np.uint8)
    for i in range(16 * n):
        out[at + 4 + i] = coded[i]
    return at + 4 + 16 * n


@kernel
def _put(out, at, number):
    for i in range(4):
        out[at + i] = (number >> (8 * i)) & 255
