"""Recipes as text: read from YAML or JSON, and written as YAML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from seg_batch.config.overrides import parse_setting
from seg_batch.config.recipe.recipe import Recipe
from seg_batch.config.validation import first_problem
from seg_batch.config.yaml_source import dumped, parse_tree, text_of
from seg_batch.core.errors import InputError

type Plain = dict[str, Any]


def parse_recipe(text: str, where: str) -> Recipe:
    """The recipe in ``text``; InputError in one line where it holds none."""
    return recipe_of(_parse_plain(text, where), where)


def read_recipe(path: Path, settings: Iterable[str] = ()) -> Recipe:
    """The recipe in a file, with ``key=value`` settings put over it."""
    return recipe_of(with_settings(read_plain(path), settings), str(path))


def read_plain(path: Path) -> Plain:
    """The mapping in a YAML or JSON file, unchecked."""
    return _parse_plain(text_of(path), str(path))


def _parse_plain(text: str, where: str) -> Plain:
    value = parse_tree(text, where).plain
    if not isinstance(value, dict):
        raise InputError(f"{where} holds no keys and values: give a file like those in workflows/")
    return value


def as_yaml(recipe: Recipe) -> str:
    """The whole recipe as text that ``parse_recipe`` reads."""
    return dumped(recipe.model_dump(mode="json"))


def with_settings(plain: Plain, settings: Iterable[str]) -> Plain:
    """``plain`` with each ``a.b=value`` put in. A mapping is merged into the one that is there."""
    for setting in settings:
        path, tree, _ = parse_setting(setting)
        value = tree.plain
        for name in reversed(path):
            value = {name: value}
        plain = deep_merged(plain, value)
    return plain


def deep_merged(base: Plain, over: Plain) -> Plain:
    """``base`` with everything in ``over`` put over it, mapping by mapping."""
    out = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = deep_merged(out[key], value) if both else value
    return out


def recipe_of(plain: Mapping[str, Any], where: str) -> Recipe:
    """The checked recipe; InputError names the wrong key, and the nearest one that exists."""
    try:
        return Recipe.model_validate(plain)
    except ValidationError as error:
        problem = first_problem(error, "recipe", Recipe)
        raise InputError(f"{where}: {problem}; mend the recipe") from None
