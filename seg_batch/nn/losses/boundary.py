"""Losses that look at the borders between classes, found in the graph from the truth itself.

Nothing is prepared by the data pipeline, so the borders are right after any augmentation. A voxel
that is not valid is neither inside nor outside of a class: it makes no border and stops no distance.
"""

from collections.abc import Sequence

from seg_batch.nn.backend import keras
from seg_batch.nn.losses.shapes import TINY, class_factor, prepared, spatial, weighted_mean
from seg_batch.nn.losses.voxelwise import surprise
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

    A border voxel is one where the discrete Laplacian of the one-hot truth is not zero, that is,
    one with a face neighbour of another class; near is closer than `reach` voxels (chessboard) to
    such a voxel, so a `reach` of 1 is the border voxels alone.
    """
    t, p, w = prepared(truth, probability, valid)
    near = chessboard(_borders(t, ops.cast(w > 0, "float32")), reach) < reach
    w = w * (1.0 + boost * ops.cast(near, "float32"))
    return weighted_mean(surprise(t, p), w * class_factor(t, class_weights))


def distance(
    truth: Tensor,
    probability: Tensor,
    valid: Tensor | None = None,
    *,
    reach: int = 8,
    background: bool = False,
) -> Tensor:
    """Mean of ``phi (p - t)``, per sample and class present: errors cost more the farther out they lie.

    phi is the signed chessboard distance to the border of the class, which lies between voxels:
    +-1/2, +-3/2, ..., positive outside, cut at `reach` and divided by it, so that it is in [-1, 1].
    The loss has the gradient of the boundary loss of Kervadec et al. (MIDL 2019, Eq. 5) and is 0
    for a perfect prediction. Alone it is weak where nothing is found yet: add it to Dice.
    """
    t, p, w = prepared(truth, probability, valid)
    if not background:
        t, p = t[..., 1:], p[..., 1:]
    axes = spatial(t)
    phi = _signed(t, ops.cast(w > 0, "float32"), reach)
    cost = ops.sum(w * phi * (p - t), axis=axes) / ops.maximum(ops.sum(w, axis=axes), TINY)
    present = ops.cast(ops.sum(w * t, axis=axes) > 0, "float32")
    return ops.sum(cost * present) / ops.maximum(ops.sum(present), 1.0)


def chessboard(seeds: Tensor, limit: int) -> Tensor:
    """Distance of every voxel to the nearest seed, counting diagonal steps as one, at most `limit`.

    `seeds` ``(B, *s, K)`` are 1 or 0. Each of ``limit - 1`` max-poolings of 3^d grows them by one
    voxel; a voxel at distance n has been reached in all but n of `limit` rounds.
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
    """1 at voxels with a face neighbour of another class, both being known; ``(B, *s, 1)``."""
    found = ops.zeros_like(known)
    for axis in spatial(t):
        step = _later(t, axis) - _earlier(t, axis)
        differ = ops.max(ops.abs(step), axis=-1, keepdims=True)
        differ = differ * _later(known, axis) * _earlier(known, axis)
        for side in ((0, 1), (1, 0)):
            pads = [side if a == axis else (0, 0) for a in range(len(t.shape))]
            found = ops.maximum(found, ops.pad(differ, pads))
    return found


def _later(x: Tensor, axis: int) -> Tensor:
    return x[(slice(None),) * axis + (slice(1, None),)]


def _earlier(x: Tensor, axis: int) -> Tensor:
    return x[(slice(None),) * axis + (slice(None, -1),)]
