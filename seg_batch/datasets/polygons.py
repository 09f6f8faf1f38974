"""Features of vector labels in a split: each counts in one part of it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np

from seg_batch.config.recipe import Recipe
from seg_batch.datasets.pairs import CheckedPair, axes_of, open_pair
from seg_batch.datasets.split import Split
from seg_batch.io.vectors.labels import LabelRules, VectorLabelSource, is_vector


def rules_of(recipe: Recipe) -> LabelRules:
    """How a recipe draws labels of vectors."""
    return LabelRules.of(recipe.vector_labels, recipe.card.classes, recipe.cut.ignore)


def kept_whole(pairs: list[CheckedPair], recipe: Recipe, split: Split) -> list[CheckedPair]:
    """The pairs, of which each feature counts in one part of the split: in that with the most of it within an image, and
    in one image where one file has the labels of several in different parts."""
    left_out = _left_out(pairs, recipe, split)
    kept = []
    for checked in pairs:
        pair = checked.pair
        if is_vector(pair.label):
            held = split.boxes.get(pair.case, ())
            rules = replace(pair.rules, held=held, left_out=left_out.get(pair.case, ()))
            checked = replace(checked, pair=replace(pair, rules=rules))
        kept.append(checked)
    return kept


def _left_out(pairs: list[CheckedPair], recipe: Recipe, split: Split) -> dict[str, tuple[int, ...]]:
    """By case, the features that another image has more of."""
    sharing = defaultdict(list)
    for checked in pairs:
        if is_vector(checked.pair.label):
            sharing[checked.pair.label].append(checked)
    out: dict[str, tuple[int, ...]] = {}
    for several in sharing.values():
        parts = {split.cases[checked.pair.case] for checked in several}
        if len(several) == 1 or parts == {"training"}:
            continue
        areas = np.array([_areas(checked, recipe) for checked in several])
        owner = areas.argmax(0)
        for k, checked in enumerate(several):
            others = np.flatnonzero((areas[k] > 0) & (owner != k))
            out[checked.pair.case] = tuple(others.tolist())
    return out


def _areas(checked: CheckedPair, recipe: Recipe) -> np.ndarray:
    with open_pair(checked.pair, axes_of(recipe)) as (_, label):
        assert isinstance(label.file, VectorLabelSource)
        return label.file.areas
