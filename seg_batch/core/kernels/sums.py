"""The sums of a block: patches are weighed and added, finished rows become labels, pairs of voxels are counted.

Sums are float32 ``(rows, classes, height, width)``: in 2-D a row is a line of pixels and ``height`` is 1, in 3-D it is a
slice. The rows of a block take turns in a ring of as many as a patch has. Each value is ``(0 + p w) + p w + ...`` in the order
of the tiles, in float32 and without fused operations, so that it has the bits of the same sum in NumPy.
"""

from __future__ import annotations

import numpy as np

from seg_batch.core.kernels.compiled import kernel

PIECE = 1024  # voxels of a line that become labels together: what is kept of them lies in the nearest cache
DECIDED, LOW, WITHOUT = (
    0,
    1,
    2,
)  # what becomes of a voxel: the model's label, that of the skip rule, none
_ZERO, _ONE, _MOST, _NONE = np.float32(0), np.float32(1), np.float32(255), np.int32(0)
_NEVER = np.uint8(0)  # the probability of each class where nothing is decided


@kernel
def add(sums, at, corner, fresh, values, place, steps, weights_z, weights_y, weights_x):
    """Add a box of a patch, whose first row is row ``at`` of the ring. 0 where all its values are finite.

    ``corner``: first line and column in ``sums``. ``fresh``: first row, line and column of the box to which no tile was added
    before; what the ring held there is overwritten. ``values``: the patch, flat; the box begins at ``place``, and ``steps`` are
    the distances of classes, rows, lines and columns.
    """
    lost, n = _NONE, weights_x.size
    for z in range(weights_z.size):
        row = (at + z) % sums.shape[0]
        for y in range(weights_y.size):
            weight = weights_z[z] * weights_y[y]
            old = fresh[2] if z >= fresh[0] and y >= fresh[1] else n
            for k in range(sums.shape[1]):
                line = sums[row, k, corner[0] + y, corner[1] : corner[1] + n]
                first = place + k * steps[0] + z * steps[1] + y * steps[2]
                if steps[3] == 1:
                    lost |= _add_line(line, values[first : first + n], weight, weights_x, old)
                else:
                    stop = first + (n - 1) * steps[3] + 1
                    lost |= _add_line(line, values[first : stop : steps[3]], weight, weights_x, old)
    return lost


@kernel
def _add_line(line, values, weight, weights, old):
    """Values up to ``old`` are added, the others put in. 0 where all are finite."""
    lost = _NONE
    for x in range(old):
        value = values[x] * _ONE
        line[x] = line[x] + value * (weight * weights[x])
        lost |= np.int32(value - value != 0)
    for x in range(old, line.size):
        value = values[x] * _ONE
        line[x] = _ZERO + value * (weight * weights[x])
        lost |= np.int32(value - value != 0)
    return lost


@kernel
def label(sums, ids, others, states, labels, sure, probabilities, first):
    """The label of the largest sum, the first of equals, for rows of sums; and, where ``probabilities`` ``(classes, rows, height,
    width)`` has any class, ``round(255 p)`` from its row ``first`` on.

    ``states``, where it has any row: what becomes of each voxel; ``others``: the labels that are not the model's, by state.
    ``sure``: the probabilities that stand for the label of the skip rule.
    """
    best = np.empty(PIECE, np.float32)
    for z in range(sums.shape[0]):
        for y in range(sums.shape[2]):
            for x in range(0, sums.shape[3], PIECE):
                stop = min(x + PIECE, sums.shape[3])
                line = labels[z, y, x:stop]
                _largest(sums[z], y, x, ids, best, line)
                for k in range(probabilities.shape[0]):
                    _quantise(sums[z, k, y, x:stop], probabilities[k, first + z, y, x:stop])
                if states.shape[0] > 0:
                    some = states[z, y, x:stop]
                    _fill(line, some, others[LOW], others[WITHOUT])
                    for k in range(probabilities.shape[0]):
                        _fill(probabilities[k, first + z, y, x:stop], some, sure[k], _NEVER)


@kernel
def _fill(line, states, low, without):
    for c in range(line.size):
        name = line[c]
        name = low if states[c] == LOW else name
        line[c] = without if states[c] == WITHOUT else name


@kernel
def _largest(sums, y, x, ids, best, labels):
    n = labels.size
    line = sums[0, y, x : x + n]
    for c in range(n):
        best[c] = line[c]
        labels[c] = ids[0]
    for k in range(1, ids.size):
        line, name = sums[k, y, x : x + n], ids[k]
        for c in range(n):
            value, most = line[c], best[c]
            larger = value > most
            best[c] = value if larger else most
            labels[c] = name if larger else labels[c]


@kernel
def _quantise(line, out):
    for c in range(line.size):
        out[c] = np.uint8(np.rint(min(max(line[c], _ZERO), _ONE) * _MOST))


@kernel
def count(sums, valid, labels, index, axis, planes, totals, classes):
    """Count the pairs of voxels on both sides of these planes of an axis, both of them valid (where ``valid`` has any row); the
    sum of how far their probabilities are apart.

    ``index``: the class of each label, -1 for none. ``totals``: pairs and flips; ``classes`` ``(2, classes)``: those that
    involve a class. They are added to.
    """
    jumps = 0.0
    n, height, width = labels.shape
    for plane in planes:
        first, stop = (plane, plane + 1) if axis == 0 else (0, n)
        for z in range(first, stop):
            first_y, stop_y = (plane, plane + 1) if axis == 1 else (0, height)
            for y in range(first_y, stop_y):
                first_x, stop_x = (plane, plane + 1) if axis == 2 else (0, width)
                for x in range(first_x, stop_x):
                    before = z - (axis == 0), y - (axis == 1), x - (axis == 2)
                    if valid.shape[0] > 0 and not (valid[z, y, x] and valid[before]):
                        continue
                    _tally(index, labels[before], labels[z, y, x], totals, classes)
                    jump = np.float32(0)
                    for k in range(sums.shape[1]):
                        jump += abs(sums[before[0], k, before[1], before[2]] - sums[z, k, y, x])
                    jumps += float(jump)
    return jumps


@kernel
def _tally(index, before, after, totals, classes):
    a, b = _class_of(index, before), _class_of(index, after)
    flip = before != after
    totals[0] += 1
    totals[1] += flip
    if a >= 0:
        classes[0, a] += 1
        classes[1, a] += flip
    if flip and b >= 0:
        classes[0, b] += 1
        classes[1, b] += 1


@kernel
def _class_of(index, name):
    return index[name] if 0 <= name < index.size else -1
