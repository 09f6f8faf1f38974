"""The minutes of a training: what is left for its steps besides cutting, validation, border and scores."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from seg_batch.config.card import ModelCard
from seg_batch.config.recipe import Recipe
from seg_batch.core.geometry import Shape
from seg_batch.datasets.patch_set import PatchSet
from seg_batch.evaluation.predict_region import patches_of
from seg_batch.inference.sliding_window.stitch import Predictor
from seg_batch.training.border_effect import PAIRS, pairs_within

if TYPE_CHECKING:
    from seg_batch.nn.training.fit import OtherWork

BORDER_SHARE = 0.1  # of the minutes is spent on the border of a patch at most, if that is enough for a few pairs
WRITING_S = 8.0  # to load the finished model, draw its curves and write the bundle
SCORING = 1.5  # scores of a bundle cost more than those that choose a checkpoint


def border_s(recipe: Recipe) -> float:
    """The seconds that the border may take; infinite where the minutes are not limited."""
    minutes = recipe.fit.minutes
    return math.inf if minutes is None else BORDER_SHARE * 60.0 * minutes


def other_work(began: float, patches: PatchSet, recipe: Recipe, card: ModelCard) -> OtherWork:
    """What the minutes hold besides the steps. ``began``: when they did (``time.monotonic``)."""
    from seg_batch.nn.training.fit import OtherWork

    validation, test = (
        sum(patches_of(region, card) for region in patches.held(part))
        for part in ("validation", "test")
    )
    return OtherWork(began, validation, _after(recipe, validation + test))


def _after(recipe: Recipe, scored: int) -> Callable[[float], float]:
    patch, limit_s = recipe.card.patch, border_s(recipe)

    def seconds(patch_s: float) -> float:
        border = 2 * len(patch) * pairs_within(limit_s, patch, patch_s)
        return WRITING_S + patch_s * (border + SCORING * scored)

    return seconds


def border_pairs(recipe: Recipe, predictor: Predictor, patch: Shape) -> int:
    """The pairs of patches that the border is measured on: fewer where the minutes are short."""
    limit_s = border_s(recipe)
    if math.isinf(limit_s):
        return PAIRS
    image = np.zeros((1, *patch, len(recipe.card.channels)), np.float32)
    predictor(image)  # compiles
    start = time.monotonic()
    predictor(image)
    return pairs_within(limit_s, patch, time.monotonic() - start)
