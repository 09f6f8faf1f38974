"""Losses weighted by the borders between classes, which the graph finds in the truth.

The data pipeline prepares nothing, so the borders are right after any augmentation. A voxel that is
not valid is neither inside nor outside of a class: it makes no border and stops no distance.
"""

from collections.abc import Sequence

from seg_batch.nn.backend import keras
from seg_batch.nn.losses.shapes import (
    TINY,
    class_factor,
    mean_over_present,
    prepared,
    spatial,
    weighted_mean,
)
from seg_batch.nn.losses.voxelwise import log_loss
from seg_batch.nn.networks.blocks import Tensor

ops = keras.ops


def edge(
    truth: Tensor,
    probability: Tensor,
    valid: Tensor | None = None,
    *,
    boost: float = 4.0,
    reach: int = 2,
    class_weights: Sequence[float] | None = None,
) -> Tensor:
    """Cross-entropy in which voxels near a border between classes weigh ``1 + boost`` instead of 1.

    A border voxel has a face neighbour of another class (the discrete Laplacian of the one-hot
    truth is not zero there). Near is closer than `reach` voxels (chessboard) to a border voxel, so
    a `reach` of 1 means the border voxels alone.
    """
    t, p, w = prepared(truth, probability, valid)
    near = chessboard(_borders(t, ops.cast(w > 0, "float32")), reach) < reach
    w = w * (1.0 + boost * ops.cast(near, "float32"))
    return weighted_mean(log_loss(t, p), w * class_factor(t, class_weights))


def distance(
    truth: Tensor,
    probability: Tensor,
    valid: Tensor | None = None,
    *,
    reach: int = 8,
    background: bool = False,
) -> Tensor:
    """Boundary loss: mean of ``phi (p - t)`` per sample and class; distant errors cost more.

    phi is the signed chessboard distance to the border of the class, which lies between voxels:
    +-1/2, +-3/2, ..., positive outside, cut at `reach` and divided by it, so that it is in [-1, 1].
    The loss has the gradient of the boundary loss of Kervadec et al. (MIDL 2019, Eq. 5) and is 0
    for a perfect prediction. Its gradient is weak where the prediction is empty: add it to Dice.
    """
    t, p, w = prepared(truth, probability, valid)
    if not background:
        t, p = t[..., 1:], p[..., 1:]
    axes = spatial(t)
    phi = _signed(t, ops.cast(w > 0, "float32"), reach)
    cost = ops.sum(w * phi * (p - t), axis=axes) / ops.maximum(ops.sum(w, axis=axes), TINY)
    return mean_over_present(cost, ops.sum(w * t, axis=axes))


def chessboard(seeds: Tensor, limit: int) -> Tensor:
    """Chessboard distance of every voxel to the nearest seed, at most `limit`; ``(B, *s, K)``.

    `seeds` are 1 or 0. Each of ``limit - 1`` max-poolings of 3^d grows them by one voxel, so a
    voxel at distance n has been reached in all but n of `limit` rounds.
    """
    reached, grown = seeds, seeds
    for _ in range(limit - 1):
        grown = ops.max_pool(grown, 3, strides=1, padding="same")
        reached = reached + grown
    return limit - reached


def _signed(t: Tensor, known: Tensor, reach: int) -> Tensor:
    """phi of every class, ``(B, *s, K)``, in [-1, 1]."""
    classes = t.shape[-1]
    apart = chessboard(ops.concatenate([t * known, (1.0 - t) * known], axis=-1), reach)
    outside, inside = apart[..., :classes], apart[..., classes:]
    return ((1.0 - t) * (outside - 0.5) - t * (inside - 0.5)) / reach


def _borders(t: Tensor, known: Tensor) -> Tensor:
    """1 at valid voxels with a valid face neighbour of another class; ``(B, *s, 1)``."""
    borders = ops.zeros_like(known)
    for axis in spatial(t):
        step = _later(t, axis) - _earlier(t, axis)
        differ = ops.max(ops.abs(step), axis=-1, keepdims=True)
        differ = differ * _later(known, axis) * _earlier(known, axis)
        for side in ((0, 1), (1, 0)):
            pads = [side if a == axis else (0, 0) for a in range(len(t.shape))]
            borders = ops.maximum(borders, ops.pad(differ, pads))
    return borders


def _later(x: Tensor, axis: int) -> Tensor:
    return x[(slice(None),) * axis + (slice(1, None),)]


def _earlier(x: Tensor, axis: int) -> Tensor:
    return x[(slice(None),) * axis + (slice(None, -1),)]
