"""The loss of the ANU-Net paper."""

from seg_batch.nn.backend import keras
from seg_batch.nn.losses.shapes import TINY, prepared, weighted_mean
from seg_batch.nn.networks.blocks import Tensor

ops = keras.ops


def paper(
    truth: Tensor,
    probability: Tensor,
    valid: Tensor | None = None,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
    clamp: float = 0.1,
    smooth: float = 1.0,
) -> Tensor:
    """Eq. 8 of the ANU-Net paper to the letter, with its pole clamped; per class, class 0 left out.

    ``1 - (alpha t log(p) / |p - 1/2|^gamma + (2 p t + s) / (p^2 + t^2 + s))`` averaged over voxels.
    As printed it diverges at p = 1/2 (hence ``|p - 1/2| >= clamp``) and has no term for voxels of
    the background but the second; alpha and s have no printed value. For comparison only.
    """
    t, p, w = prepared(truth, probability, valid)
    t, p = t[..., 1:], p[..., 1:]
    away = ops.maximum(ops.abs(p - 0.5), clamp)
    weighted_ce = alpha * t * ops.log(p + TINY) / ops.power(away, gamma)
    overlap = (2.0 * p * t + smooth) / ops.maximum(p * p + t * t + smooth, TINY)
    return weighted_mean(ops.mean(1.0 - (weighted_ce + overlap), axis=-1, keepdims=True), w)
