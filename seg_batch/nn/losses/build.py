"""A loss from the plain values of a recipe, and its mean over several heads.

::

    build_loss([{"name": "dice"}, {"name": "cross_entropy", "weight": 0.5, "smoothing": 0.1}],
               background=False, class_weights=None)
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from seg_batch.core.errors import InputError
from seg_batch.core.text import nearest
from seg_batch.nn.losses.boundary import distance, edge
from seg_batch.nn.losses.overlap import dice, focal_tversky, generalised_dice, tversky
from seg_batch.nn.losses.shapes import Loss
from seg_batch.nn.losses.voxelwise import cross_entropy, focal, paper
from seg_batch.nn.networks.blocks import Tensor

LOSSES: dict[str, Callable[..., Any]] = {
    "cross_entropy": cross_entropy,
    "focal": focal,
    "dice": dice,
    "generalised_dice": generalised_dice,
    "tversky": tversky,
    "focal_tversky": focal_tversky,
    "edge": edge,
    "distance": distance,
    "paper": paper,
}

# Inclusive limits where "0 or more" will not do.
_LIMITS: dict[tuple[str, str], tuple[float, float]] = {
    ("cross_entropy", "smoothing"): (0.0, 0.99),
    ("focal_tversky", "gamma"): (0.1, 10.0),
    ("paper", "clamp"): (0.001, 0.5),
}


def build_loss(
    terms: Sequence[Mapping[str, Any]],
    *,
    background: bool,
    class_weights: Sequence[float] | None = None,
) -> Loss:
    """The weighted sum of `terms`, each a name of LOSSES, a "weight" and the loss's own arguments.

    `background`: class 0 counts like the others, for terms with that argument that do not set it.
    `class_weights` replace ``"class_weights": "inverse"`` in a term. Raises InputError for an
    unknown name or argument, with the nearest known one, and for a value out of its limits.
    """
    return _weighted_sum([_term(term, background, class_weights) for term in terms])


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


def _weighted_sum(terms: Sequence[tuple[float, Loss]]) -> Loss:
    """``sum(weight * loss)``, without the terms of weight 0."""
    kept = [(weight, loss) for weight, loss in terms if weight]
    if not kept:
        raise InputError("a loss without a term teaches nothing; give one a weight above 0")

    def loss(truth: Tensor, probability: Tensor, valid: Tensor | None = None) -> Tensor:
        parts = [weight * part(truth, probability, valid) for weight, part in kept]
        return sum(parts[1:], parts[0])

    return loss


def _term(
    term: Mapping[str, Any], background: bool, class_weights: Sequence[float] | None
) -> tuple[float, Loss]:
    options = dict(term)
    name, weight = options.pop("name", None), options.pop("weight", 1.0)
    if name not in LOSSES:
        raise InputError(f"there is no loss {name!r}; {nearest(name, LOSSES)}")
    function = LOSSES[name]
    defaults = _defaults(function)
    for key, value in options.items():
        if key not in defaults:
            advice = nearest(key, [*defaults, "weight"])
            raise InputError(f"the loss {name} has no argument {key!r}; {advice}")
        if key != "class_weights":
            _check(name, key, value, defaults[key])
    _check(name, "weight", weight, 1.0)
    if "class_weights" in options:
        options["class_weights"] = _weights(name, options["class_weights"], class_weights)
    if "background" in defaults:
        options.setdefault("background", background)
    return float(weight), partial(function, **options)


def _defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """The keyword arguments of a loss and their defaults."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def _check(name: str, key: str, value: Any, default: Any) -> None:
    """Raises InputError unless a value is as its default: bool, whole number from 1, number from 0."""
    low, high = _LIMITS.get((name, key), (1 if type(default) is int else 0.0, math.inf))
    if isinstance(default, bool):
        fits, wanted = isinstance(value, bool), "true or false"
    else:
        kinds = (int,) if isinstance(default, int) else (int, float)
        fits = isinstance(value, kinds) and not isinstance(value, bool)
        fits = fits and math.isfinite(value) and low <= value <= high
        wanted = f"a {'whole ' if len(kinds) == 1 else ''}number of {low} or more"
        wanted += f", at most {high}" if high < math.inf else ""
    if not fits:
        raise InputError(f"the loss {name} has {key} = {value!r}; use {wanted}")


def _weights(
    name: str, value: Any, class_weights: Sequence[float] | None
) -> tuple[float, ...] | None:
    """One weight per class: "inverse" means `class_weights`; a list is taken as it is."""
    if value is None:
        return None
    if value == "inverse":
        if class_weights is None:
            raise InputError(
                f"the loss {name} asks for inverse class weights, but the frequencies of the "
                "classes are not known here; give a list of weights, or none"
            )
        return tuple(map(float, class_weights))
    numbers = isinstance(value, (list, tuple)) and all(
        isinstance(w, (int, float)) and math.isfinite(w) and w >= 0 for w in value
    )
    if not numbers or not any(value):
        raise InputError(
            f'the loss {name} has class_weights = {value!r}; use "inverse" or one number of 0 or '
            "more per class"
        )
    return tuple(map(float, value))
