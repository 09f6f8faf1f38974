"""What a training learns from: a patch dataset as it is, or pairs that are cut beside the bundle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_batch.config.command_options import TrainOverrides
from seg_batch.config.recipe import Recipe
from seg_batch.config.recipe.reading import merged, read_plain, recipe_of, with_settings
from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import InputError
from seg_batch.datasets.build import make_patches
from seg_batch.datasets.patch_set import PatchSet
from seg_batch.training.autoconfig import without_conflicts
from seg_batch.training.measure_dataset import advised

# What may differ between a dataset's card and that of the bundle: words, and how tiles are laid.
FREE = {"name", "description", "licence", "training_data", "overlap", "margin"}


@dataclass(frozen=True)
class TrainingSet:
    """``patches`` to learn from, by ``recipe``; ``reasons`` for what nobody asked for."""

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
) -> TrainingSet:
    """The dataset that ``data`` names, or one cut out of the pairs that it names.

    Pairs are cut into ``beside``, which a killed training finds again; ``overwrite``: also where
    other ones were. ``check`` may refuse the recipe before anything is cut. Raises InputError for
    what can't be learnt from.
    """
    if len(data) == 1 and (Path(data[0]) / "zarr.json").is_file():
        given = _given(data[0], overrides)
        check(given.recipe)
        return given
    recipe, reasons = _chosen(data, overrides, callback)
    check(recipe)
    make_patches(
        list(data),
        beside,
        recipe,
        align=overrides.align,
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


def _chosen(
    data: Sequence[str], overrides: TrainOverrides, callback: Callback
) -> tuple[Recipe, tuple[str, ...]]:
    """A recipe that says card and cut stands alone; any less is put over what the data advise."""
    own, where = _over(overrides, {}), str(overrides.recipe or "recipe")
    if {"card", "cut"} <= own.keys() and overrides.recipe is not None:
        return _suited(recipe_of(own, where), own), ()
    callback.on(events.Stage("reading headers and labels"))
    advice, reasons = advised(list(data), overrides.align)
    advisable = recipe_of(_over(overrides, without_conflicts(advice, own)), where)
    recipe = _suited(advisable, own)
    unused = set() if recipe == advisable else {"network.filters"}
    return recipe, tuple(str(r) for r in reasons if r.key not in unused and not _has(own, r.key))


def _over(overrides: TrainOverrides, base: dict[str, Any]) -> dict[str, Any]:
    """``base`` with the file and then the settings over it."""
    own = read_plain(Path(overrides.recipe)) if overrides.recipe is not None else {}
    return with_settings(merged(base, own), overrides.all_settings)


def _suited(recipe: Recipe, own: dict[str, Any]) -> Recipe:
    """Filters that nobody asked for are those of levels: a network without takes its own."""
    from seg_batch.nn.networks.registry import own_filters

    if not _has(own, "network.arch") or _has(own, "network.filters"):
        return recipe
    filters = own_filters(recipe.network.arch)
    return recipe if filters is None else recipe.changed(network={"filters": filters})


def _given(dataset: str, overrides: TrainOverrides) -> TrainingSet:
    if overrides.align is not None or overrides.fold is not None:
        raise InputError(
            f"{dataset} is cut already: --align and --fold belong to segbatch patches, or give pairs"
        )
    patches = PatchSet(dataset)
    plain = _over(overrides, patches.recipe.model_dump(mode="json"))
    recipe = recipe_of(plain, str(overrides.recipe or "--set"))
    if recipe.network.arch != patches.recipe.network.arch:
        recipe = _suited(recipe, _over(overrides, {}))
    if other := _unlike(recipe, patches.recipe):
        raise InputError(
            f"{dataset} was cut for another recipe ({', '.join(other)}), so its patches would be "
            "learnt wrongly: cut it anew with segbatch patches, or leave these as they were"
        )
    return TrainingSet(patches, recipe)


def _unlike(a: Recipe, b: Recipe) -> list[str]:
    """Dotted names of what is cut into a dataset and differs."""
    card = [
        f"card.{k}" for k in type(a.card).model_fields if k not in FREE and _at(a, b, "card", k)
    ]
    cut = [f"cut.{k}" for k in type(a.cut).model_fields if _at(a, b, "cut", k)]
    return card + cut + (["hold_out"] if a.hold_out != b.hold_out else [])


def _at(a: Recipe, b: Recipe, part: str, key: str) -> bool:
    return bool(getattr(getattr(a, part), key) != getattr(getattr(b, part), key))


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
