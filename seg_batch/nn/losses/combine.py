"""Losses made of losses: weighted sums, and one loss over several heads."""

from collections.abc import Sequence

from seg_batch.core.errors import InputError
from seg_batch.nn.losses.shapes import Loss
from seg_batch.nn.networks.blocks import Tensor


def weighted_sum(terms: Sequence[tuple[float, Loss]]) -> Loss:
    """``sum(weight * loss)``; terms of weight 0 are not computed."""
    kept = [(weight, loss) for weight, loss in terms if weight]
    if not kept:
        raise InputError("a loss without a term teaches nothing; give one a weight above 0")

    def loss(truth: Tensor, probability: Tensor, valid: Tensor | None = None) -> Tensor:
        parts = [weight * part(truth, probability, valid) for weight, part in kept]
        return sum(parts[1:], parts[0])

    return loss


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
    if len(factors) != len(heads) or min(factors) < 0 or sum(factors) <= 0:
        raise InputError(
            f"head weights {factors} for {len(heads)} heads: give one number per head, none "
            "negative and at least one above 0"
        )
    terms = [f * loss(truth, p, valid) for f, p in zip(factors, heads, strict=True) if f]
    return sum(terms[1:], terms[0]) / sum(factors)
