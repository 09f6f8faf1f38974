"""The first and last steps of every loss: arguments in one form, weighted means."""

from collections.abc import Callable, Sequence

from seg_batch.core.errors import InputError
from seg_batch.nn.backend import keras
from seg_batch.nn.networks.blocks import Tensor

ops = keras.ops

type Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]

TINY = 1e-7  # keeps logarithms and quotients finite; below the resolution of float32 near 1


def prepared(
    truth: Tensor, probability: Tensor, valid: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """One-hot truth and probabilities ``(B, *s, K)``, weights ``(B, *s, 1)``, all float32."""
    p = per_class(probability)
    if len(truth.shape) == len(p.shape):
        t = ops.cast(truth, "float32")
    else:
        t = ops.one_hot(ops.cast(truth, "int32"), p.shape[-1], dtype="float32")
    return t, p, weights_of(p, valid)


def per_class(probability: Tensor) -> Tensor:
    """Probabilities of every class, float32: a single sigmoid channel becomes two."""
    p = ops.cast(probability, "float32")
    return ops.concatenate([1.0 - p, p], axis=-1) if p.shape[-1] == 1 else p


def weights_of(p: Tensor, valid: Tensor | None) -> Tensor:
    """The weight of each voxel, ``(B, *s, 1)``."""
    return ops.ones_like(p[..., :1]) if valid is None else ops.cast(valid, "float32")[..., None]


def class_factor(t: Tensor, class_weights: Sequence[float] | None) -> Tensor | float:
    """The weight of each voxel's true class, ``(B, *s, 1)``."""
    if class_weights is None:
        return 1.0
    if len(class_weights) != t.shape[-1]:
        raise InputError(
            f"{len(class_weights)} class weights for {t.shape[-1]} classes: give one per class"
        )
    return ops.sum(t * ops.convert_to_tensor(class_weights, "float32"), axis=-1, keepdims=True)


def weighted_mean(value: Tensor, w: Tensor) -> Tensor:
    """The mean of `value` weighted by `w`; 0 if all weights are 0."""
    return ops.sum(value * w) / ops.maximum(ops.sum(w), TINY)


def mean_over_present(score: Tensor, true: Tensor) -> Tensor:
    """The mean of `score` over the samples and classes whose `true` is above 0; 0 without any."""
    present = ops.cast(true > 0, "float32")
    return ops.sum(score * present) / ops.maximum(ops.sum(present), 1.0)


def spatial(x: Tensor) -> tuple[int, ...]:
    """The spatial axes of ``(B, *s, K)``."""
    return tuple(range(1, len(x.shape) - 1))
