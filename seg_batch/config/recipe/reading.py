"""Recipes as text: YAML or JSON in, one line of complaint where it is not a recipe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from seg_batch.config.recipe.recipe import Recipe
from seg_batch.config.yaml_source import YamlDumper, parse_tree, text_of
from seg_batch.core.errors import InputError
from seg_batch.core.text import nearest

type Plain = dict[str, Any]


def parse_recipe(text: str, where: str) -> Recipe:
    """The recipe in ``text``; InputError in one line when it is not one."""
    return recipe_of(parse_plain(text, where), where)


def read_recipe(path: Path, settings: Iterable[str] = ()) -> Recipe:
    """The recipe in a file, with ``key=value`` settings put over it."""
    return recipe_of(with_settings(read_plain(path), settings), str(path))


def read_plain(path: Path) -> Plain:
    """The mapping in a YAML or JSON file, not yet checked."""
    return parse_plain(text_of(path), str(path))


def parse_plain(text: str, where: str) -> Plain:
    value = parse_tree(text, where).plain
    if not isinstance(value, dict):
        raise InputError(f"{where} holds no keys and values: give a file like those in workflows/")
    return value


def as_yaml(recipe: Recipe) -> str:
    """The whole recipe as text that ``parse_recipe`` reads."""
    plain = recipe.model_dump(mode="json")
    return yaml.dump(plain, Dumper=YamlDumper, sort_keys=False, width=100)


def with_settings(plain: Plain, settings: Iterable[str]) -> Plain:
    """``plain`` with each ``a.b=value`` put in; values are read as YAML."""
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not all(key.split(".")):
            raise InputError(f"--set {setting!r} is no setting: write it as part.key=value")
        value = parse_tree(text, f"--set {key}").plain
        for name in reversed(key.split(".")):
            value = {name: value}
        plain = merged(plain, value)
    return plain


def merged(base: Plain, over: Plain) -> Plain:
    """``base`` with everything in ``over`` put over it, mapping by mapping."""
    out = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = merged(out[key], value) if both else value
    return out


def recipe_of(plain: Mapping[str, Any], where: str) -> Recipe:
    """The checked recipe; InputError names the key, and the nearest one that exists."""
    try:
        return Recipe.model_validate(plain)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "recipe"
        hint = nearest_key(Recipe, first["loc"]) if first["type"] == "extra_forbidden" else ""
        raise InputError(f"{where}: {field}: {first['msg']}{hint}; mend the recipe") from None


def nearest_key(model: type[BaseModel], where: tuple[int | str, ...]) -> str:
    """``"; did you mean x?"`` for a key that does not exist; nothing where it is inside no model."""
    *path, name = where
    for step in path:
        kind = model.model_fields[str(step)].annotation if step in model.model_fields else None
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return ""
        model = kind
    return f"; {nearest(name, model.model_fields)}"
