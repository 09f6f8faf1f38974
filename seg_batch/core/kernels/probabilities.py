"""Probabilities of one voxel, made of its sums: softmax of logits, or of each class its own.

Only products, sums and quotients of float32 in the order written, without fused operations and without a library's ``exp``:
NumPy gives the same bits (``inference.sliding_window.plain_sums``), on every machine.
"""

from __future__ import annotations

import numpy as np

from seg_batch.core.kernels.compiled import kernel
from seg_batch.core.kernels.exponential import (
    LEAST,
    LN2,
    LN2_REST,
    PER_LN2,
    POWERS,
    SERIES,
    SIGMOID,
    SOFTMAX,
)

_ZERO, _ONE = np.float32(0), np.float32(1)


@kernel
def _exp(x):
    x = max(x, LEAST)
    k = np.rint(x * PER_LN2)
    r = (x - k * LN2) - k * LN2_REST
    total = SERIES[0]
    for n in range(1, len(SERIES)):
        total = total * r + SERIES[n]
    return total * POWERS[int(k) + 126]


@kernel
def probabilities_of(sums, kind, background, out):
    """Of the classes of one voxel, in ``out``. ``background``: the index of what is 1 less the largest other, -1: none."""
    for k in range(out.size):
        value = np.float32(sums[k])
        out[k] = value if value - value == 0 else _ZERO  # what is not finite is refused elsewhere
    if kind == SOFTMAX:
        _softmax(out)
        return
    most = _ZERO
    for k in range(out.size):
        out[k] = _sigmoid(out[k]) if kind == SIGMOID else min(max(out[k], _ZERO), _ONE)
        most = max(most, out[k]) if k != background else most
    if background >= 0:
        out[background] = _ONE - most


@kernel
def _softmax(out):
    most = out[0]
    for k in range(1, out.size):
        most = max(most, out[k])
    total = _ZERO
    for k in range(out.size):
        out[k] = _exp(out[k] - most)
        total += out[k]
    for k in range(out.size):
        out[k] = out[k] / total


@kernel
def _sigmoid(value):
    e = _exp(-abs(value))
    return (_ONE if value >= 0 else e) / (_ONE + e)
