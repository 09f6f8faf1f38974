"""The sums of a block: patches are weighed and added, finished rows become labels, pairs of voxels are counted.

Sums are float32 ``(rows, classes, height, width)``: in 2-D a row is a line of pixels and ``height`` is 1, in 3-D it is a
slice. The rows of a block take turns in a ring of as many as a patch has. Each value is ``(0 + p w) + p w + ...`` in the order
of the tiles, in float32 and without fused operations, so that it has the bits of the same sum in NumPy.
"""

from __future__ import annotations

import numpy as np

from seg_batch.core.kernels.compiled import kernel
from seg_batch.core.kernels.probabilities import probabilities_of

PIECE = 1024  # voxels of a line that become labels together: what is kept of them lies in the nearest cache
DECIDED, LOW, WITHOUT = (
    0,
    1,
    2,
)  # what becomes of a voxel: the model's label, that of the skip rule, none
_ZERO, _ONE, _MOST, _NONE = np.float32(0), np.float32(1), np.float32(255), np.int32(0)
_LEAST = np.float32(-np.inf)
_NEVER = np.uint8(0)  # the probability of each class where nothing is decided


@kernel
def add(sums, at, corner, fresh, alone, values, place, steps, weights_z, weights_y, weights_x):
    """Add a box of a patch, whose first row is row ``at`` of the ring. 0 where all its values are finite.

    ``corner``: first line and column in ``sums``. ``fresh``: first row, line and column of the box to which no tile was added
    before; what the ring held there is overwritten. ``alone``: first and last of the rows, lines and columns that are
    left out. ``values``: the patch, flat; the box begins at ``place``, and ``steps`` are the distances of classes, rows, lines
    and columns.
    """
    lost, n = _NONE, weights_x.size
    ends, left, right = np.empty(5, np.int64), alone[4], alone[5]
    for z in range(weights_z.size):
        row = (at + z) % sums.shape[0]
        for y in range(weights_y.size):
            weight = weights_z[z] * weights_y[y]
            old = fresh[2] if z >= fresh[0] and y >= fresh[1] else n
            inside = alone[0] <= z < alone[1] and alone[2] <= y < alone[3]
            pieces = _pieces(ends, old, (left, right) if inside else (n, n), n)
            for k in range(sums.shape[1]):
                line = sums[row, k, corner[0] + y, corner[1] : corner[1] + n]
                first = place + k * steps[0] + z * steps[1] + y * steps[2]
                for i in range(pieces):
                    a, b = ends[i], ends[i + 1]
                    if a >= left and b <= right and inside:
                        continue
                    part, weights = line[a:b], weights_x[a:b]
                    lost |= _add(
                        part, values, first + a * steps[3], steps[3], weight, weights, a >= old
                    )
    return lost


@kernel
def _pieces(ends, old, alone, n):
    """The stretches of a line that are done alike: how many, and where they end."""
    pieces = 0
    ends[0] = 0
    for end in (min(old, alone[0]), min(max(old, alone[0]), alone[1]), max(old, alone[1]), n):
        if ends[pieces] < end <= n:
            pieces += 1
            ends[pieces] = end
    return pieces


@kernel
def _add(line, values, first, step, weight, weights, fresh):
    if step == 1:
        return _add_line(line, values[first : first + line.size], weight, weights, fresh)
    stop = first + (line.size - 1) * step + 1
    return _add_line(line, values[first:stop:step], weight, weights, fresh)


@kernel
def _add_line(line, values, weight, weights, fresh):
    """0 where all values are finite."""
    lost = _NONE
    if fresh:
        for x in range(line.size):
            value = values[x] * _ONE
            line[x] = _ZERO + value * (weight * weights[x])
            lost |= np.int32(value - value != 0)
    else:
        for x in range(line.size):
            value = values[x] * _ONE
            line[x] = line[x] + value * (weight * weights[x])
            lost |= np.int32(value - value != 0)
    return lost


@kernel
def label(
    values,
    place,
    steps,
    corner,
    shape,
    ids,
    others,
    states,
    labels,
    sure,
    probabilities,
    kind,
    background,
    last,
):
    """The label of the largest value, the first of equals, in a box (``last``: the last whose value is above that of the
    ``background``); and, where ``probabilities`` ``(classes, rows, lines, columns)`` has any class, ``round(255 p)``, with p made
    of the values as ``kind`` says. 0 where all values are finite.

    ``values``, ``place`` and ``steps``: as in `add`, of sums or of a patch. ``corner`` and ``shape``: where the box lies in the
    other arrays. ``states``, where it has any row: what becomes of each voxel; ``others``: the labels that are not the
    model's, by state. ``sure``: the probabilities that stand for the label of the skip rule.
    """
    best, lost, each = np.empty(PIECE, np.float32), _NONE, np.empty(ids.size, np.float32)
    for z in range(shape[0]):
        row = corner[0] + z
        for y in range(shape[1]):
            at = corner[1] + y
            for x in range(0, shape[2], PIECE):
                start, stop = corner[2] + x, corner[2] + min(x + PIECE, shape[2])
                first = place + z * steps[1] + y * steps[2] + x * steps[3]
                line = labels[row, at, start:stop]
                if last:
                    lost |= _last(values, first, steps, ids, background, line)
                else:
                    lost |= _largest(values, first, steps, ids, best, line)
                if probabilities.shape[0] > 0 and kind != 0:
                    part = probabilities[:, row, at, start:stop]
                    _quantise_made(values, first, steps, kind, background, each, part)
                else:
                    for k in range(probabilities.shape[0]):
                        part_k = probabilities[k, row, at, start:stop]
                        _quantise(values, first + k * steps[0], steps[3], part_k)
                if states.shape[0] > 0:
                    some = states[row, at, start:stop]
                    _fill(line, some, others[LOW], others[WITHOUT])
                    for k in range(probabilities.shape[0]):
                        _fill(probabilities[k, row, at, start:stop], some, sure[k], _NEVER)
    return lost


@kernel
def _fill(line, states, low, without):
    for c in range(line.size):
        name = line[c]
        name = low if states[c] == LOW else name
        line[c] = without if states[c] == WITHOUT else name


@kernel
def _largest(values, first, steps, ids, best, labels):
    n, lost = labels.size, _NONE
    if steps[0] == 1:
        return _largest_of_each(values, first, steps[3], ids, labels)
    for c in range(n):
        best[c] = _LEAST
        labels[c] = ids[0]
    for k in range(ids.size):
        at = first + k * steps[0]
        if steps[3] == 1:
            lost |= _larger(values[at : at + n], best, labels, ids[k])
        else:
            stop = at + (n - 1) * steps[3] + 1
            lost |= _larger(values[at : stop : steps[3]], best, labels, ids[k])
    return lost


@kernel
def _last(values, first, steps, ids, background, labels):
    lost = _NONE
    for c in range(labels.size):
        at, k = first + c * steps[3], background
        least = np.float32(values[at + background * steps[0]])
        for j in range(ids.size):
            value = np.float32(values[at + j * steps[0]])
            k = j if value > least else k
            lost |= np.int32(value - value != 0)
        labels[c] = ids[k]
    return lost


@kernel
def _largest_of_each(values, first, step, ids, labels):
    """Where the classes of a voxel lie side by side."""
    lost = _NONE
    for c in range(labels.size):
        most, k = _LEAST, 0
        for j in range(ids.size):
            value = np.float32(values[first + c * step + j])
            larger = value > most
            most = value if larger else most
            k = j if larger else k
            lost |= np.int32(value - value != 0)
        labels[c] = ids[k]
    return lost


@kernel
def _larger(line, best, labels, name):
    lost = _NONE
    for c in range(line.size):
        value, most = np.float32(line[c]), best[c]
        larger = value > most
        best[c] = value if larger else most
        labels[c] = name if larger else labels[c]
        lost |= np.int32(value - value != 0)
    return lost


@kernel
def _quantise(values, first, step, out):
    if step == 1:
        _quantise_line(values[first : first + out.size], out)
    else:
        _quantise_line(values[first : first + (out.size - 1) * step + 1 : step], out)


@kernel
def _quantise_line(line, out):
    for c in range(line.size):
        value = min(max(np.float32(line[c]), _ZERO), _ONE)
        out[c] = np.uint8(np.rint(value * _MOST))


@kernel
def _quantise_made(values, first, steps, kind, background, each, out):
    """Voxel by voxel. ``each``: room for the probabilities of one."""
    for c in range(out.shape[1]):
        at = first + c * steps[3]
        stop = at + (each.size - 1) * steps[0] + 1
        probabilities_of(values[at : stop : steps[0]], kind, background, each)
        for k in range(each.size):
            out[k, c] = np.uint8(np.rint(min(max(each[k], _ZERO), _ONE) * _MOST))


@kernel
def count(sums, valid, labels, index, axis, planes, totals, classes, kind, background):
    """Count the pairs of voxels on both sides of these planes of an axis, both of them valid (where ``valid`` has any row); the
    sum of how far their probabilities are apart, which are made of the sums as ``kind`` says.

    ``index``: the class of each label, -1 for none. ``totals``: pairs and flips; ``classes`` ``(2, classes)``: those that
    involve a class. They are added to.
    """
    jumps = 0.0
    n, height, width = labels.shape
    one, other = np.empty((2, sums.shape[1]), np.float32)
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
                    if kind == 0:
                        for k in range(sums.shape[1]):
                            jump += abs(sums[before[0], k, before[1], before[2]] - sums[z, k, y, x])
                    else:
                        probabilities_of(
                            sums[before[0], :, before[1], before[2]], kind, background, one
                        )
                        probabilities_of(sums[z, :, y, x], kind, background, other)
                        for k in range(one.size):
                            jump += abs(one[k] - other[k])
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
