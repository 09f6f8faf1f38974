"""Losses on probabilities, for images and volumes alike.

Arguments, everywhere: `truth` is integer labels ``(B, *s)`` or one-hot ``(B, *s, K)``; `probability`
is the output of one head ``(B, *s, C)`` in [0, 1], where C = K, or C = 1 for a sigmoid (then K = 2);
`valid` is ``(B, *s)``, bool or a weight per voxel, None for all ones. Voxels that are not valid
change no result, whatever their label. All losses are scalars of float32.

Written with keras.ops only, so they run on every Keras backend.
"""

from collections.abc import Callable, Sequence

from seg_batch.nn.backend import keras
from seg_batch.nn.blocks import Tensor

ops = keras.ops

type Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]

TINY = 1e-7  # keeps logarithms and quotients finite; below the resolution of float32 around 1


def dice(
    truth: Tensor,
    probability: Tensor,
    valid: Tensor | None = None,
    *,
    smooth: float = 1.0,
    background: bool = False,
) -> Tensor:
    """One minus the soft Dice coefficient, per sample and class, averaged over what is present.

    ``1 - (2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth)``. A class that a sample's truth does
    not contain is left out of that sample's mean (its score would depend on `smooth` alone);
    cross-entropy still pushes its probability down. A batch with no class left scores 0.

    Class 0 is skipped unless `background`; set it where 0 is a class like the others.
    """
    t, p, w = _prepared(truth, probability, valid)
    axes = tuple(range(1, len(t.shape) - 1))
    overlap = ops.sum(w * p * t, axis=axes)
    size = ops.sum(w * p, axis=axes) + ops.sum(w * t, axis=axes)
    score = 1.0 - (2.0 * overlap + smooth) / (size + smooth)
    present = ops.cast(ops.sum(w * t, axis=axes) > 0, "float32")
    if not background:
        score, present = score[:, 1:], present[:, 1:]
    return ops.sum(score * present) / ops.maximum(ops.sum(present), 1.0)


def cross_entropy(
    truth: Tensor,
    probability: Tensor,
    valid: Tensor | None = None,
    *,
    class_weights: Sequence[float] | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """Mean of ``-log p[truth]`` over the valid voxels, each weighted by the weight of its class.

    `smoothing` mixes the truth with the uniform distribution (label smoothing).
    """
    t, p, w = _prepared(truth, probability, valid)
    w = w * _class_factor(t, class_weights)
    t = t * (1.0 - smoothing) + smoothing / t.shape[-1]
    return _mean(-ops.sum(t * ops.log(p + TINY), axis=-1, keepdims=True), w)


def focal(
    truth: Tensor,
    probability: Tensor,
    valid: Tensor | None = None,
    *,
    gamma: float = 2.0,
    class_weights: Sequence[float] | None = None,
) -> Tensor:
    """Mean of ``-(1 - p[truth]) ** gamma * log p[truth]`` (Lin et al., ICCV 2017, Eq. 4)."""
    t, p, w = _prepared(truth, probability, valid)
    w = w * _class_factor(t, class_weights)
    sure = ops.sum(t * p, axis=-1, keepdims=True)
    return _mean(-ops.power(ops.maximum(1.0 - sure, 0.0), gamma) * ops.log(sure + TINY), w)


def dice_ce(
    *,
    dice_weight: float = 1.0,
    ce_weight: float = 1.0,
    focal_weight: float = 0.0,
    background: bool = False,
    class_weights: Sequence[float] | None = None,
    smoothing: float = 0.0,
) -> Loss:
    """The default loss: Dice + cross-entropy (+ focal), as a function of the three arguments."""

    def loss(truth: Tensor, probability: Tensor, valid: Tensor | None = None) -> Tensor:
        total = dice_weight * dice(truth, probability, valid, background=background)
        total += ce_weight * cross_entropy(
            truth, probability, valid, class_weights=class_weights, smoothing=smoothing
        )
        if focal_weight:
            total += focal_weight * focal(truth, probability, valid, class_weights=class_weights)
        return total

    return loss


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
    t, p, w = _prepared(truth, probability, valid)
    t, p = t[..., 1:], p[..., 1:]
    distance = ops.maximum(ops.abs(p - 0.5), clamp)
    weighted_ce = alpha * t * ops.log(p + TINY) / ops.power(distance, gamma)
    overlap = (2.0 * p * t + smooth) / (p * p + t * t + smooth)
    return _mean(ops.mean(1.0 - (weighted_ce + overlap), axis=-1, keepdims=True), w)


def over_heads(
    loss: Loss,
    truth: Tensor,
    probabilities: Sequence[Tensor] | Tensor,
    valid: Tensor | None = None,
    *,
    weights: Sequence[float] | None = None,
) -> Tensor:
    """Deep supervision: the mean of `loss` over the heads, weighted by `weights` (equal if None)."""
    heads = probabilities if isinstance(probabilities, (list, tuple)) else [probabilities]
    factors = list(weights) if weights is not None else [1.0] * len(heads)
    terms = [f * loss(truth, p, valid) for f, p in zip(factors, heads, strict=True)]
    return sum(terms[1:], terms[0]) / sum(factors)


def _prepared(
    truth: Tensor, probability: Tensor, valid: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """One-hot truth and probabilities ``(B, *s, K)``, weights ``(B, *s, 1)``, all float32."""
    p = ops.cast(probability, "float32")
    if p.shape[-1] == 1:
        p = ops.concatenate([1.0 - p, p], axis=-1)
    if len(truth.shape) == len(p.shape):
        t = ops.cast(truth, "float32")
    else:
        t = ops.one_hot(ops.cast(truth, "int32"), p.shape[-1], dtype="float32")
    w = ops.ones_like(p[..., :1]) if valid is None else ops.cast(valid, "float32")[..., None]
    return t, p, w


def _class_factor(t: Tensor, class_weights: Sequence[float] | None) -> Tensor | float:
    """The weight of each voxel's true class, ``(B, *s, 1)``."""
    if class_weights is None:
        return 1.0
    return ops.sum(t * ops.convert_to_tensor(class_weights, "float32"), axis=-1, keepdims=True)


def _mean(value: Tensor, w: Tensor) -> Tensor:
    """The mean of `value` weighted by `w`; 0 where no weight is left."""
    return ops.sum(value * w) / ops.maximum(ops.sum(w), TINY)
