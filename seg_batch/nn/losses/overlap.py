"""Losses of set overlap: Dice, generalised Dice, Tversky and focal Tversky."""

from seg_batch.nn.backend import keras
from seg_batch.nn.losses.shapes import TINY, mean_over_present, prepared, spatial
from seg_batch.nn.networks.blocks import Tensor

ops = keras.ops


def dice(
    truth: Tensor,
    probability: Tensor,
    valid: Tensor | None = None,
    *,
    smooth: float = 1.0,
    background: bool = False,
    pooled: bool = False,
) -> Tensor:
    """One minus the soft Dice coefficient, averaged over the samples and classes that are present.

    ``1 - (2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth)``. Class 0 is skipped unless
    `background`: set it where 0 is a class like the others. With `pooled` the sums run over the
    whole batch, which is steadier if most patches lack most classes.
    """
    both, predicted, true = _sums(truth, probability, valid, background, pooled)
    score = 1.0 - _quotient(2.0 * both + smooth, predicted + true + smooth)
    return mean_over_present(score, true)


def generalised_dice(
    truth: Tensor,
    probability: Tensor,
    valid: Tensor | None = None,
    *,
    background: bool = False,
    pooled: bool = False,
) -> Tensor:
    """``1 - 2 sum_c(v_c sum(p t)) / sum_c(v_c sum(p + t))`` with ``v_c = 1 / sum(t) ** 2``.

    Classes of any size count alike. Absent classes have ``v_c = 0`` (the printed weight is
    infinite); the mean is over the samples that have a class. Sudre et al., DLMIA 2017, section 2.
    """
    both, predicted, true = _sums(truth, probability, valid, background, pooled)
    present = ops.cast(true > 0, "float32")
    # A common factor of the weights cancels; relative to the smallest class they stay near 1.
    smallest = ops.min(ops.where(true > 0, true, 1e30), axis=-1, keepdims=True)
    v = present * ops.square(smallest / ops.where(true > 0, true, smallest))
    shared, total = ops.sum(v * both, axis=-1), ops.sum(v * (predicted + true), axis=-1)
    score = 1.0 - _quotient(2.0 * shared, total)
    return mean_over_present(score, ops.sum(true, axis=-1))


def tversky(
    truth: Tensor,
    probability: Tensor,
    valid: Tensor | None = None,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    smooth: float = 1.0,
    background: bool = False,
    pooled: bool = False,
) -> Tensor:
    """``1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth)``, averaged as `dice` is.

    `alpha` weighs false positives, `beta` false negatives (Salehi et al., MLMI 2017, Eq. 3; some
    libraries swap the two): a larger beta raises recall and lowers precision.
    """
    sums = _sums(truth, probability, valid, background, pooled)
    return mean_over_present(_tversky(*sums, alpha, beta, smooth), sums[2])


def focal_tversky(
    truth: Tensor,
    probability: Tensor,
    valid: Tensor | None = None,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    gamma: float = 4 / 3,
    smooth: float = 1.0,
    background: bool = False,
    pooled: bool = False,
) -> Tensor:
    """Mean of ``tversky_c ** (1 / gamma)`` over samples and classes (Abraham and Khan, ISBI 2019, Eq. 4).

    `alpha` and `beta` as in `tversky`: alpha weighs false positives (in their text, false
    negatives). A gamma above 1 keeps the gradient large for classes that are nearly right.
    """
    sums = _sums(truth, probability, valid, background, pooled)
    score = _tversky(*sums, alpha, beta, smooth)
    # The root has an infinite slope at 0.
    return mean_over_present(ops.power(ops.maximum(score, TINY), 1.0 / gamma), sums[2])


def _tversky(
    both: Tensor, predicted: Tensor, true: Tensor, alpha: float, beta: float, smooth: float
) -> Tensor:
    wrong = alpha * (predicted - both) + beta * (true - both)
    return 1.0 - _quotient(both + smooth, both + wrong + smooth)


def _sums(
    truth: Tensor, probability: Tensor, valid: Tensor | None, background: bool, pooled: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """``sum(p t)``, ``sum(p)``, ``sum(t)`` over the valid voxels, each ``(B, K)``, or (1, K) pooled."""
    t, p, w = prepared(truth, probability, valid)
    if not background:
        t, p = t[..., 1:], p[..., 1:]
    sums = [ops.sum(w * x, axis=spatial(t)) for x in (p * t, p, t)]
    if pooled:
        sums = [ops.sum(s, axis=0, keepdims=True) for s in sums]
    return sums[0], sums[1], sums[2]


def _quotient(a: Tensor, b: Tensor) -> Tensor:
    return a / ops.maximum(b, TINY)
