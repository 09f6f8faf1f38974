"""The sums of a resampling, as machine code: float32, one order, no fused operations.

A row of output is ``ref + (0 + w0 * (x0 - ref) + w1 * (x1 - ref) + ...)``, rising along the axis; the
zero keeps the sign of zeros the same in every kernel. Arrays
are ``(outer, n, inner)`` with the axis in the middle; ``bands`` and ``weights`` are those of
``weights.Rows`` for the rows of the output, and ``origin`` is the input voxel of ``x[:, 0]``.

``missing`` is the share of a voxel's weight that is missing, from 0 to 1. Where a band has none of it
the sum is the same, bit for bit, as without. Elsewhere the row is ``ref + sum of w * (1 - missing) *
(x - ref)`` over the sum of ``w * (1 - missing)``, with the row of ``soft_bands``, whose weights are all
positive: dividing by a sum with negative weights would blow up beside a hole.

This module imports numba, so it is imported where the first sum is made.
"""

from __future__ import annotations

import numpy as np

from seg_batch.core.kernels.compiled import kernel

COLUMNS = 256  # that are summed side by side: the rows of a cubic band stay in the nearest cache
LINES = 64  # of a narrow last axis that are turned to lie side by side
_ZERO, _ONE = np.float32(0), np.float32(1)


@kernel
def _band(bands, i, origin):
    return bands[i, 0] - origin, bands[i, 1] - origin, bands[i, 2] - origin, bands[i, 3] - origin


@kernel
def _row(x, at, first, stop, left, ref, weights, out):
    """``out[b]`` from ``x[k, at + b]``; ``left`` is the row of ``x`` that ``weights[0]`` belongs to."""
    end = at + out.size
    centre = x[ref, at:end]
    if stop - first == 1:
        for b in range(out.size):
            out[b] = centre[b] + _ZERO
    elif stop - first == 2:
        other = x[first + stop - 1 - ref, at:end]
        weight = weights[first + stop - 1 - ref - left]
        for b in range(out.size):
            out[b] = centre[b] + (weight * (other[b] - centre[b]) + _ZERO)
    else:
        _long_row(x, at, first, stop, left, ref, weights, out)


@kernel
def _long_row(x, at, first, stop, left, ref, weights, out):
    """``_row`` of three weights or more."""
    end = at + out.size
    centre = x[ref, at:end]
    for b in range(out.size):
        out[b] = _ZERO
    k = first
    while k + 4 <= stop:  # four at a time: their sum is loaded and stored once
        a, c, d, e = x[k, at:end], x[k + 1, at:end], x[k + 2, at:end], x[k + 3, at:end]
        j = k - left
        wa, wc, wd, we = weights[j], weights[j + 1], weights[j + 2], weights[j + 3]
        for b in range(out.size):
            r = centre[b]
            pair = (out[b] + wa * (a[b] - r)) + wc * (c[b] - r)
            out[b] = (pair + wd * (d[b] - r)) + we * (e[b] - r)
        k += 4
    while k < stop:
        a, wa = x[k, at:end], weights[k - left]
        for b in range(out.size):
            out[b] += wa * (a[b] - centre[b])
        k += 1
    for b in range(out.size):
        out[b] = centre[b] + out[b]


@kernel
def along(x, start, origin, bands, weights, out):
    """``out`` ``(outer, rows, width)`` from the columns ``start <= b < start + width`` of ``x``."""
    outer, rows, width = out.shape
    n, taps = x.shape[1], weights.shape[1]
    piece = COLUMNS if taps > 2 else 16 * COLUMNS
    near = np.empty((n, COLUMNS), np.float32) if _copied(n, rows, taps) else x[0]
    for o in range(outer):
        for b in range(0, width, piece):
            end, at = min(b + piece, width), start + b
            if _copied(n, rows, taps):
                for k in range(n):
                    for c in range(end - b):
                        near[k, c] = x[o, k, at + c]
            for i in range(rows):
                first, stop, left, ref = _band(bands, i, origin)
                if _copied(n, rows, taps):
                    _row(near, 0, first, stop, left, ref, weights[i], out[o, i, b:end])
                else:
                    _row(x[o], at, first, stop, left, ref, weights[i], out[o, i, b:end])


@kernel
def _copied(n, rows, taps):
    """Whether columns are worth a copy that lies close together. Rows whose distance is a power of two
    drive one another out of the caches."""
    return taps > 2 and n <= 4 * rows


@kernel
def along_pairs(x, origin, bands, weights, out):
    """The same for a narrow ``inner`` and at most two weights: gathered, line by line."""
    outer, rows, inner = out.shape
    near, far = np.empty((2, rows * inner), np.int64)
    share = np.empty(rows * inner, np.float32)
    for i in range(rows):
        first, stop, left, ref = _band(bands, i, origin)
        other = first + stop - 1 - ref
        for c in range(inner):
            near[i * inner + c], far[i * inner + c] = ref * inner + c, other * inner + c
            share[i * inner + c] = weights[i, other - left]
    for o in range(outer):
        line, sums = x[o].reshape(-1), out[o].reshape(-1)
        for i in range(sums.size):
            a, b = line[near[i]], line[far[i]]
            sums[i] = a + (share[i] * (b - a) + _ZERO)


@kernel
def along_lines(x, origin, bands, weights, out):
    """The same for a narrow ``inner``: some lines of ``outer`` are turned to lie side by side."""
    outer, n, inner = x.shape
    side = _lines(inner)
    turned, sums = np.zeros((n, inner * side), np.float32), np.empty(inner * side, np.float32)
    for o in range(0, outer, side):
        lines = min(side, outer - o)
        _turn(x, o, lines, turned)
        for i in range(out.shape[1]):
            first, stop, left, ref = _band(bands, i, origin)
            _row(turned, 0, first, stop, left, ref, weights[i], sums)
            _turn_back(sums, o, lines, i, out)


@kernel
def _lines(inner):
    return max(8, min(LINES, COLUMNS // inner))


@kernel
def _turn(x, o, lines, turned):
    side = turned.shape[1] // x.shape[2]
    for j in range(x.shape[1]):
        for c in range(x.shape[2]):
            for k in range(lines):
                turned[j, c * side + k] = x[o + k, j, c]


@kernel
def _turn_back(sums, o, lines, i, out):
    side = sums.size // out.shape[2]
    for c in range(out.shape[2]):
        for k in range(lines):
            out[o + k, i, c] = sums[c * side + k]


@kernel
def _voxel(x, missing, b, first, stop, left, ref, weights):
    """Value and missing share of one voxel that has something missing in its band."""
    if missing[ref, b] >= _ONE:
        ref = -1
        for k in range(first, stop):
            if ref < 0 and missing[k, b] < _ONE:
                ref = k
    if ref < 0:
        return _ZERO, _ONE
    centre, total, held = x[ref, b], _ZERO, _ZERO
    for k in range(first, stop):
        weight = weights[k - left] * (_ONE - missing[k, b])
        held += weight
        total += weight * (x[k, b] - centre)
    return centre + total / held, max(_ZERO, _ONE - held)


@kernel
def _row_missing(
    x, missing, at, origin, bands, weights, soft_bands, soft_weights, i, out, out_missing
):
    first, stop, left, ref = _band(bands, i, origin)
    _row(x, at, first, stop, left, ref, weights[i], out)
    for b in range(out.size):
        out_missing[b] = _ZERO
    for k in range(first, stop):  # the largest share in the band of each column
        shares = missing[k, at : at + out.size]
        for b in range(out.size):
            out_missing[b] = max(out_missing[b], shares[b])
    first, stop, left, ref = _band(soft_bands, i, origin)
    for b in range(out.size):
        if out_missing[b] > _ZERO:
            out[b], out_missing[b] = _voxel(
                x, missing, at + b, first, stop, left, ref, soft_weights[i]
            )


@kernel
def along_missing(
    x, missing, start, origin, bands, weights, soft_bands, soft_weights, out, out_missing
):
    """``along`` for values of which some are missing; those are 0 in ``x``, as they are in ``out``."""
    outer, rows, width = out.shape
    for o in range(outer):
        for b in range(0, width, COLUMNS):
            end = min(b + COLUMNS, width)
            for i in range(rows):
                _row_missing(
                    x[o], missing[o], start + b, origin, bands, weights, soft_bands, soft_weights,
                    i, out[o, i, b:end], out_missing[o, i, b:end],
                )  # fmt: skip


@kernel
def along_lines_missing(
    x, missing, origin, bands, weights, soft_bands, soft_weights, out, out_missing
):
    """``along_lines`` for values of which some are missing."""
    outer, n, inner = x.shape
    side = _lines(inner)
    turned, turned_missing = np.zeros((2, n, inner * side), np.float32)
    sums, shares = np.empty((2, inner * side), np.float32)
    for o in range(0, outer, side):
        lines = min(side, outer - o)
        _turn(x, o, lines, turned)
        _turn(missing, o, lines, turned_missing)
        for i in range(out.shape[1]):
            _row_missing(
                turned, turned_missing, 0, origin, bands, weights, soft_bands, soft_weights,
                i, sums, shares,
            )  # fmt: skip
            _turn_back(sums, o, lines, i, out)
            _turn_back(shares, o, lines, i, out_missing)


@kernel
def all_finite(x):
    """Whether no value of a flat float32 array is NaN or infinite: one pass, no copy."""
    bad = 0
    for i in range(x.size):
        bad |= not np.isfinite(x[i])
    return bad == 0
