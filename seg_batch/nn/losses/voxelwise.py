"""Losses that are means over voxels: cross-entropy, focal, distillation; and class weights."""

import math
from collections.abc import Sequence

from seg_batch.core.errors import InputError
from seg_batch.nn.backend import keras
from seg_batch.nn.losses.shapes import (
    TINY,
    class_factor,
    per_class,
    prepared,
    weighted_mean,
    weights_of,
)
from seg_batch.nn.networks.blocks import Tensor

ops = keras.ops


def cross_entropy(
    truth: Tensor,
    probability: Tensor,
    valid: Tensor | None = None,
    *,
    class_weights: Sequence[float] | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """Mean of ``-log p[truth]`` over the valid voxels, each weighted by the weight of its class.

    `smoothing` mixes the truth with the uniform distribution (label smoothing, Szegedy et al. 2016).
    """
    t, p, w = prepared(truth, probability, valid)
    return weighted_mean(log_loss(t, p, smoothing), w * class_factor(t, class_weights))


def log_loss(t: Tensor, p: Tensor, smoothing: float = 0.0) -> Tensor:
    """``-sum_c t_c log p_c`` at each voxel, ``(B, *s, 1)``, for a truth smoothed by `smoothing`."""
    t = t * (1.0 - smoothing) + smoothing / t.shape[-1]
    return -ops.sum(t * ops.log(p + TINY), axis=-1, keepdims=True)


def focal(
    truth: Tensor,
    probability: Tensor,
    valid: Tensor | None = None,
    *,
    gamma: float = 2.0,
    class_weights: Sequence[float] | None = None,
) -> Tensor:
    """Mean of ``-(1 - p[truth]) ** gamma * log p[truth]`` (Lin et al., ICCV 2017, Eq. 4)."""
    t, p, w = prepared(truth, probability, valid)
    sure = ops.sum(t * p, axis=-1, keepdims=True)
    # At least TINY: a power of 0 has no finite gradient if gamma is below 1.
    unsure = ops.power(ops.maximum(1.0 - sure, TINY), gamma)
    return weighted_mean(-unsure * ops.log(sure + TINY), w * class_factor(t, class_weights))


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
    As printed it diverges at p = 1/2 (hence ``|p - 1/2| >= clamp``) and only its second term counts
    background voxels; the paper gives no value for alpha and s. For comparison only.
    """
    t, p, w = prepared(truth, probability, valid)
    t, p = t[..., 1:], p[..., 1:]
    distance = ops.maximum(ops.abs(p - 0.5), clamp)
    weighted_ce = alpha * t * ops.log(p + TINY) / ops.power(distance, gamma)
    overlap = (2.0 * p * t + smooth) / ops.maximum(p * p + t * t + smooth, TINY)
    return weighted_mean(ops.mean(1.0 - (weighted_ce + overlap), axis=-1, keepdims=True), w)


def distillation(
    teacher: Tensor, student: Tensor, valid: Tensor | None = None, temperature: float = 2.0
) -> Tensor:
    """``T^2 KL(q_teacher || q_student)``, mean over valid voxels, ``q = softmax(log(p) / T)``.

    `teacher` and `student` are probabilities ``(B, *s, C)``. Their logarithms serve as logits: they
    differ by a constant per voxel, which softmax ignores. The factor T^2 makes the gradient's size
    independent of the temperature. Source: Hinton et al. 2015, section 2.
    """
    if temperature <= 0:
        raise InputError(f"a temperature of {temperature} has no softmax; use one above 0, say 2")
    log_q, log_s = (
        ops.log_softmax(ops.log(per_class(p) + TINY) / temperature, axis=-1)
        for p in (teacher, student)
    )
    divergence = ops.sum(ops.exp(log_q) * (log_q - log_s), axis=-1, keepdims=True)
    return temperature**2 * weighted_mean(divergence, weights_of(divergence, valid))


def inverse_frequency(
    histogram: Sequence[float], clip: float = 10.0, power: float = 1.0
) -> tuple[float, ...]:
    """Class weights from voxel counts: ``min((n_max / n_c) ^ power, clip)``, scaled to mean 1.

    The mean is over the classes that occur; an absent class weighs 1. `clip` bounds the weight of a
    rare class as a multiple of the commonest one's: without it, a class of 0.1 % would leave the
    others next to nothing. Raises InputError if no class occurs.
    """
    counts = [float(n) for n in histogram]
    top = max(counts, default=0.0)
    if not all(0 <= n < math.inf for n in counts) or top == 0 or clip < 1:
        raise InputError(
            f"no class weights from the counts {counts} with clip {clip}: give the voxels of each "
            "class, one above 0 at least, and a clip of 1 or more"
        )
    raw = [min((top / n) ** power, clip) if n else 0.0 for n in counts]
    middle = sum(raw) / sum(1 for r in raw if r)
    return tuple(r / middle if r else 1.0 for r in raw)
