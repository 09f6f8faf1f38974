"""The data of a training: a patch dataset as it is, or pairs that are cut beside the bundle."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_batch.config.command_options import TrainOverrides
from seg_batch.config.recipe import Recipe
from seg_batch.config.recipe.reading import deep_merged, read_plain, recipe_of, with_settings
from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import InputError
from seg_batch.datasets.build import make_patches
from seg_batch.datasets.patch_set import PatchSet
from seg_batch.training.autoconfig import without_conflicts
from seg_batch.training.measure_dataset import advise_recipe

# Fields that may differ between the cards of a dataset and of the bundle: text, and the tiling.
FREE = {"name", "description", "licence", "training_data", "overlap", "margin"}


@dataclass(frozen=True)
class TrainingSet:
    """``patches`` to learn from, by ``recipe``; ``reasons``: of the settings that were advised."""

    patches: PatchSet
    recipe: Recipe
    reasons: tuple[str, ...] = ()


def training_set(
    data: Sequence[str],
    beside: Path,
    overrides: TrainOverrides,
    callback: Callback,
    *,
    check: Callable[[Recipe], object] = lambda recipe: None,
    overwrite: bool = False,
    name: str = "model",
) -> TrainingSet:
    """The dataset that ``data`` names, or one cut out of the pairs that it names.

    Pairs are cut into ``beside``, so that a killed training can be resumed; ``overwrite`` replaces
    another dataset there. ``name``: of the bundle, where no recipe says. ``check`` may refuse the recipe before anything is cut. Raises InputError
    for data that can't be learnt from.
    """
    if len(data) == 1 and os.path.isfile(os.path.join(data[0], "zarr.json")):
        existing = _from_dataset(data[0], overrides)
        check(existing.recipe)
        return existing
    recipe, reasons = _recipe(data, overrides, callback, name)
    check(recipe)
    make_patches(
        list(data),
        beside,
        recipe,
        align=overrides.align,
        alpha=overrides.alpha,
        fold=overrides.fold,
        cluster=overrides.cluster,
        workers=overrides.workers,
        overwrite=overwrite,
        callback=callback,
        reuse=True,
        needed=("validation",),
    )
    patches = PatchSet(beside)
    return TrainingSet(patches, patches.recipe, reasons)


def _recipe(
    data: Sequence[str], overrides: TrainOverrides, callback: Callback, name: str
) -> tuple[Recipe, tuple[str, ...]]:
    """A recipe file with card and cut is used as it is; less is put over the advised recipe."""
    own, where = _over(overrides, {}), str(overrides.recipe or "recipe")
    if {"card", "cut"} <= own.keys() and overrides.recipe is not None:
        return _suited(recipe_of(own, where), own), ()
    callback.on(events.Stage("reading headers and labels"))
    advice, reasons = advise_recipe(list(data), overrides.align, overrides.alpha, own)
    advice["card"]["name"] = name
    advisable = recipe_of(_over(overrides, without_conflicts(advice, own)), where)
    recipe = _suited(advisable, own)
    unused = set() if recipe == advisable else {"network.filters"}
    return recipe, tuple(str(r) for r in reasons if r.key not in unused and not _has(own, r.key))


def _over(overrides: TrainOverrides, base: dict[str, Any]) -> dict[str, Any]:
    """``base`` with the file and then the settings over it."""
    own = read_plain(Path(overrides.recipe)) if overrides.recipe is not None else {}
    return with_settings(deep_merged(base, own), overrides.all_settings)


def _suited(recipe: Recipe, own: dict[str, Any]) -> Recipe:
    """With the filters of its own of a network that has no levels, unless filters are set."""
    from seg_batch.nn.networks.registry import own_filters

    if not _has(own, "network.arch") or _has(own, "network.filters"):
        return recipe
    filters = own_filters(recipe.network.arch)
    return recipe if filters is None else recipe.changed(network={"filters": filters})


def _from_dataset(dataset: str, overrides: TrainOverrides) -> TrainingSet:
    if overrides.align is not None or overrides.fold is not None or overrides.alpha != "auto":
        raise InputError(
            f"{dataset} is cut already: --alpha, --align and --fold belong to segbatch patches, or give "
            "pairs"
        )
    patches = PatchSet(dataset)
    plain = _over(overrides, patches.recipe.model_dump(mode="json"))
    recipe = recipe_of(plain, str(overrides.recipe or "--set"))
    if recipe.network.arch != patches.recipe.network.arch:
        recipe = _suited(recipe, _over(overrides, {}))
    if other := _differences(recipe, patches.recipe):
        raise InputError(
            f"{dataset} was cut for another recipe ({', '.join(other)}), so its patches would be "
            "learnt wrongly: cut it anew with segbatch patches, or leave these as they were"
        )
    return TrainingSet(patches, recipe)


def _differences(a: Recipe, b: Recipe) -> list[str]:
    """Dotted names of what a dataset depends on and differs."""
    names = [
        f"{part}.{key}"
        for part, ours, theirs in (("card", a.card, b.card), ("cut", a.cut, b.cut))
        for key in type(ours).model_fields
        if (part == "cut" or key not in FREE) and getattr(ours, key) != getattr(theirs, key)
    ]
    return names + (["hold_out"] if a.hold_out != b.hold_out else [])


def _has(plain: dict[str, Any], key: str) -> bool:
    """Whether a dotted key, or a part of it that holds no mapping, is set in ``plain``."""
    value: Any = plain
    for name in key.split("."):
        if not isinstance(value, dict):
            return True
        if name not in value:
            return False
        value = value[name]
    return True
