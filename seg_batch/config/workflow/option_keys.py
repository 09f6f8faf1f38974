"""The keys of a workflow that are options of commands, made of their declarations."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial, reduce
from operator import attrgetter, or_
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, create_model

from seg_batch.config.options import Option, declared
from seg_batch.config.recipe.card_draft import Frozen
from seg_batch.config.workflow.fields import Positive, Words
from seg_batch.config.workflow.paths import NameText, PathText
from seg_batch.core.geometry import Shape
from seg_batch.core.text import nearest

TEXTS = {"plain": str, "path": PathText, "name": NameText}
LISTS = {
    tuple[str, ...]: Words,
    Shape: Annotated[tuple[Positive, ...], Field(min_length=2, max_length=3)],
}


class Keys(Frozen):
    """A part of a workflow with options of a command among its keys."""

    def of[T](self, kind: type[T]) -> T:
        """The options that ``kind`` declares, as far as they are keys here."""
        names = declared(kind).keys() & type(self).model_fields.keys()
        return kind(**{name: getattr(self, name) for name in names})


def with_keys_of[M: Keys](*kinds: type) -> Callable[[type[M]], type[M]]:
    """The model with a key for each option that the dataclasses ``kinds`` declare, after its own."""

    def extended(model: type[M]) -> type[M]:
        options = [one for kind in kinds for one in declared(kind).values() if one.key is None]
        keys: dict[str, Any] = {
            one.name: (_takes(one), Field(default=one.unsaid, alias=one.alias)) for one in options
        }
        return create_model(
            model.__name__,
            __base__=model,
            __module__=model.__module__,
            __doc__=model.__doc__,
            **keys,
        )

    return extended


def options_of[T](kind: type[T], workflow: Any) -> T:
    """What a workflow says of the options that ``kind`` declares."""
    said = {}
    for name, one in declared(kind).items():
        key = one.key or f"options.{name}"
        said[name] = one.value(attrgetter(key)(workflow), key)
    return kind(**said)


def keys_saying(*bags: Any) -> dict[str, Any]:
    """What a workflow says that says the same as these options."""
    plain: dict[str, Any] = {}
    for bag in bags:
        for name, one in declared(type(bag)).items():
            part, _, key = (one.key or f"options.{name}").rpartition(".")
            (plain.setdefault(part, {}) if part else plain)[key] = getattr(bag, name)
    return plain


def _takes(one: Option) -> Any:
    """The type of a key."""
    if one.known:
        return Annotated[str, BeforeValidator(partial(_named, one.known))]
    kinds = reduce(or_, (_bounded(kind, one) for kind in one.kinds if kind is not Path))
    return kinds | None if one.unsaid is None else kinds


def _bounded(kind: Any, one: Option) -> Any:
    if kind is str:
        return TEXTS[one.text]
    if kind is int:
        return Annotated[int, Field(strict=True, ge=one.least)]
    if kind is float:
        return Annotated[float, Field(gt=0)]
    return LISTS.get(kind, kind)


def _named(known: Callable[[], Iterable[str]], value: object) -> object:
    if isinstance(value, str | int | float) and value not in (names := tuple(known())):
        near = nearest(value, names)
        hint = f"; {near}" if near.startswith("did") else ""
        raise ValueError(f"there is no {str(value)[:40]!r}: use {', '.join(names)}{hint}")
    return value
