"""Everything that ``patches`` decides from the headers, before a voxel is read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.config.recipe import Recipe, read_recipe
from seg_batch.core.errors import InputError
from seg_batch.core.versions import package_version
from seg_batch.datasets import layout, store
from seg_batch.datasets.layout import Case, full_rank
from seg_batch.datasets.pairs import check_pair, find_pairs
from seg_batch.datasets.polygons import kept_whole, rules_of
from seg_batch.datasets.split import Split, resolve_split
from seg_batch.io.sources.protocol import AlphaOption


@dataclass(frozen=True)
class DatasetPlan:
    """Everything decided from the headers. ``codes``: of each case, the part of each tile."""

    recipe: Recipe
    split: Split
    cases: list[Case]
    codes: list[np.ndarray]
    align: str | None
    task_bytes: int

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What must be the same for a run to resume another."""
        recipe = self.recipe.model_dump(mode="json")
        del recipe["card"][
            "resampling"
        ]  # counts where it was done, and is among the identities there
        cases = {
            case.pair.case: {"files": [*case.pair.images, case.pair.label], **case.identities}
            for case in self.cases
        }
        return {
            "dataset version": store.VERSION,
            "segbatch": package_version(),
            **{part: recipe[part] for part in ("card", "cut")},
            "split": self.split.to_json(),
            "align": self.align,
            "task size": self.task_bytes,
            "cases": cases,
        }

    def require(self, parts: Iterable[str]) -> None:
        """InputError unless something is held out for each of these parts."""
        held = {part for case in self.cases for part, _ in case.held}
        for part in parts:
            if part not in held:
                raise InputError(
                    f"nothing is held out for {part}, so the best checkpoint can't be told: add "
                    f"hold_out.{part} to the recipe, or {part} to the splits of the manifest"
                )

    @property
    def layout(self) -> store.DatasetLayout:
        return store.DatasetLayout(
            n=sum(map(len, self.codes)),
            patch=self.recipe.cut.patch,
            channels=len(self.recipe.card.channels),
            classes=len(self.recipe.card.classes),
            spatial=len(self.cases[0].extent),
        )


def chosen_recipe(recipe: Recipe | str | Path, settings: Iterable[str], fold: int | None) -> Recipe:
    """The recipe, from its file where it is a path, with the fold that is asked for."""
    if not isinstance(recipe, Recipe):
        recipe = read_recipe(Path(recipe), settings)
    if fold is None:
        return recipe
    folds = recipe.hold_out.folds
    if folds is None or not 0 <= fold < folds.count:
        have = f"has folds 0 to {folds.count - 1}" if folds else "has no hold_out.folds"
        raise InputError(
            f"there is no fold {fold}, the recipe {have}: correct --fold or the recipe"
        )
    return recipe.changed(hold_out={"folds": {**folds.model_dump(mode="json"), "fold": fold}})


def plan_dataset(
    given: Iterable[str | Path],
    recipe: Recipe,
    align: str | None,
    task_bytes: int,
    alpha: AlphaOption = "auto",
) -> DatasetPlan:
    """Read all headers and decide the split; InputError for anything that can't become a dataset."""
    if align not in (None, "nearest"):
        raise InputError(f"--align {align!r} is unknown: labels are aligned by nearest only")
    pairs = find_pairs([str(text) for text in given], alpha)
    recipe = pairs.agreed(recipe)
    pairs = pairs.drawn_by(rules_of(recipe))
    checked = [check_pair(pair, recipe, align) for pair in pairs.pairs]
    extents = {pair.pair.case: pair.extent for pair in checked}
    parts = {pair.case: pair.split for pair in pairs.pairs if pair.split}
    patch = full_rank(recipe.card.patch, len(checked[0].extent), max(recipe.card.patch))
    split = resolve_split(recipe.hold_out, extents, patch, parts)
    cases = layout.cases_of(kept_whole(checked, recipe, split), recipe, split)
    codes = [layout.codes(case, recipe) for case in cases]
    if not any((code == store.CODES["training"]).any() for code in codes):
        raise InputError(
            f"no tile of {recipe.cut.patch} lies outside what is held out and the gap of "
            f"{split.gap} voxels around it, nothing is left to train on: hold out less, or set "
            "hold_out.gap"
        )
    return DatasetPlan(recipe, split, cases, codes, align, task_bytes)
