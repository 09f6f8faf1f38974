"""An ensemble: several models whose probabilities (or logits, where the cards blend those) are averaged, as one model.

All members see the patch that the stitcher cut and normalised for the first, whose card is that of the
run; so they must agree in everything that says what goes in and what comes out::

    mean(p1, ..., pn)(x) = ( p1(x) + ... + pn(x) ) / n        float32, summed in this order
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from seg_batch.config.card import Compute, ModelCard
from seg_batch.core.errors import BundleError
from seg_batch.core.geometry import Shape
from seg_batch.inference.bundles import Model
from seg_batch.inference.sliding_window.grid import DEFAULT_TAPER, scaled_to
from seg_batch.inference.sliding_window.stitch import Predictor

# What members must share, by the word for it in a message.
ALIKE: dict[str, Callable[[ModelCard], str]] = {
    "classes": lambda card: ", ".join(f"{c.id}={c.name}" for c in card.classes),
    "channels": lambda card: ", ".join(card.channel_names or ("any",)),
    "kind": lambda card: card.kind,
    "rank": lambda card: str(card.rank),
    "orientation": lambda card: card.orientation,
    "normalisation": lambda card: str(card.normalisation),
    "crop": lambda card: card.crop,
    "skip rule": lambda card: str(card.skip),
    "rule for missing channels": lambda card: card.missing,
    "output grid": lambda card: f"{card.finer} voxels per input voxel and axis",
    "output": lambda card: _said(card.output.model_dump(exclude={"gives"})),
    "padding": lambda card: card.padding,
    "taper": lambda card: card.taper or DEFAULT_TAPER,
    "layout of tiles": lambda card: card.tiles,
    "lead of the first tile": lambda card: str(card.lead),
    "views": lambda card: card.tta,
}


def _said(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)


LONG = 200  # characters; a longer difference is named, not shown


def average(predictors: Sequence[Predictor]) -> Predictor:
    """The mean of the members' probabilities; the predictor itself where there is one."""
    first, *others = predictors
    if not others:
        return first

    def predict(patches: np.ndarray) -> np.ndarray:
        total = first(patches).astype(np.float32)  # a copy: others are added in place
        for predictor in others:
            total += predictor(patches)
        total /= np.float32(len(predictors))
        return total

    return predict


def as_ensemble(models: Sequence[Model]) -> Model:
    """The first model with the others as its members; itself where there are no others. Of a bundle of several folds each
    is a member that counts as much as any.

    BundleError, naming the member and what differs, for models that can't be averaged; and for a
    model named twice.
    """
    if not models:
        raise BundleError("no model is named: name one with --model, or leave it away")
    first, *others = models
    if not others:
        return first
    for n, model in enumerate(others, 1):
        if any(_same(model, earlier) for earlier in models[:n]):
            raise BundleError(
                f"model {model.name} is named twice, which changes nothing and costs as much "
                "again: name it once"
            )
        if other := _difference(first.card, model.card):
            raise BundleError(
                f"model {model.name} can't be averaged with {first.name} for its {other}: "
                "name models for the same task"
            )
    _, *members = (member for model in models for member in model.all)
    return replace(first, members=tuple(members))


def together(cards: Sequence[ModelCard]) -> ModelCard:
    """The first card with the costs of a patch in an ensemble of all, which every member computes, keeping its
    activations; and with the patches that all of them take."""
    patch = cards[0].patch
    each = [scaled_to(card, patch).compute if patch else card.compute for card in cards]
    compute = Compute(
        activation_bytes=sum(one.activation_bytes for one in each),
        flops=sum(one.flops for one in each),
        weights_bytes=sum(one.weights_bytes for one in each),
    )
    steps = [card.multiple for card in cards if card.multiple is not None]
    together = {
        "compute": compute,
        "multiple": tuple(map(math.lcm, *steps)) if len(steps) == len(cards) else None,
        "patch_fixed": next((card.why_fixed for card in cards if card.why_fixed), None),
    }
    return cards[0].model_copy(update=together)


def _same(a: Model, b: Model) -> bool:
    if a.path is None or b.path is None:
        return a.function is b.function
    return a.card.weights_sha256 == b.card.weights_sha256


def _difference(first: ModelCard, other: ModelCard) -> str | None:
    """What keeps two models from being averaged, in a few words; None when nothing does."""
    for word, of in ALIKE.items():
        if (theirs := of(other)) != (ours := of(first)):
            shown = f" ({theirs} against {ours})"
            return f"{word}{shown if len(shown) < LONG else ''}"
    if _other_size(first, other):
        return f"voxel size ({_sizes(other)} against {_sizes(first)})"
    if _sizes(first) and _sizes(other) and first.resampling != other.resampling:
        return "rules of resampling"
    if not _takes(other, first.patch):
        return f"patch ({other.patch}, which can't be {first.patch})"
    return None


def _sizes(card: ModelCard) -> tuple[float, ...]:
    """In mm, without that between the slices of a 2-D model, or in metres; empty where the card states none."""
    sizes = card.spacing_mm
    return sizes[-(card.rank or len(sizes)) :] if sizes else (card.pixel_m,) if card.pixel_m else ()


def _other_size(first: ModelCard, other: ModelCard) -> bool:
    """Whether both state a voxel size and these differ by more than the tolerance of the first."""
    pairs = zip(_sizes(first), _sizes(other), strict=False)
    return any(abs(a / b - 1) > first.resampling.tolerance for a, b in pairs)


def _takes(card: ModelCard, patch: Shape | None) -> bool:
    """Whether the model can run on patches of that shape: its own, or any whose sides are multiples
    of the card's. A model that was compiled for one shape has only that."""
    if card.patch is None or patch in (None, card.patch):
        return True
    if card.multiple is None or len(card.multiple) != len(patch):
        return False
    return all(side % step == 0 for side, step in zip(patch, card.multiple, strict=True))


def without_repeats(predictor: Predictor, factor: int) -> Predictor:
    """The predictor of a model with ``factor`` output voxels per input voxel and axis, for patches
    on the output's grid (``views.upsampled``): it sees each voxel of the file once."""
    if factor == 1:
        return predictor

    def predict(patches: np.ndarray) -> np.ndarray:
        step = (slice(None, None, factor),) * (patches.ndim - 2)
        return predictor(np.ascontiguousarray(patches[:, *step]))

    return predict
