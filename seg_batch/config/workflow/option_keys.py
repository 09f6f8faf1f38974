"""Workflow keys for the options of commands, made of the declarations of the options."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial, reduce
from operator import attrgetter, or_
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, create_model

from seg_batch.config.options import Option, declared
from seg_batch.config.validation import CheckedValue
from seg_batch.config.workflow.fields import Bands, Numbers, Positive, Words
from seg_batch.config.workflow.paths import NameText, PathText
from seg_batch.core.errors import PlanError
from seg_batch.core.geometry import Shape
from seg_batch.core.text import nearest

TEXTS = {"plain": str, "path": PathText, "name": NameText}
LISTS = {
    tuple[str, ...]: Words,
    tuple[str | int, ...]: Bands,
    tuple[float, ...]: Numbers,
    Shape: Annotated[tuple[Positive, ...], Field(min_length=2, max_length=3)],
}


class Keys(CheckedValue):
    """Base of parts of a workflow with options of a command among their keys."""

    def of[T](self, kind: type[T]) -> T:
        """The options that ``kind`` declares, with the values of those that are keys here."""
        names = declared(kind).keys() & type(self).model_fields.keys()
        return kind(**{name: getattr(self, name) for name in names})


def with_keys_of[M: Keys](*kinds: type) -> Callable[[type[M]], type[M]]:
    """The model with its own keys and, after them, a key for each option that ``kinds`` declare."""

    def extended(model: type[M]) -> type[M]:
        options = [o for kind in kinds for o in declared(kind).values() if o.key is None]
        keys: dict[str, Any] = {
            o.name: (_type_of(o), Field(default=o.unsaid, alias=o.alias)) for o in options
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
    """The options that ``kind`` declares, with the values of a workflow."""
    values = {}
    for name, option in declared(kind).items():
        key = option.key or f"options.{name}"
        values[name] = option.value(attrgetter(key)(workflow), key)
    return kind(**values)


def keys_saying(*bags: Any) -> dict[str, Any]:
    """The plain mapping of a workflow with these options, the inverse of ``options_of``."""
    plain: dict[str, Any] = {}
    for bag in bags:
        for name, option in declared(type(bag)).items():
            part, _, key = (option.key or f"options.{name}").rpartition(".")
            (plain.setdefault(part, {}) if part else plain)[key] = getattr(bag, name)
    return plain


def fault_of_option(error: ValueError, *bags: Any) -> PlanError:
    """The first fault of a workflow that ``keys_saying`` made, with the option of the command line."""
    if not isinstance(error, ValidationError):
        return PlanError(str(error))
    first = error.errors()[0]
    key = ".".join(part for part in first["loc"] if isinstance(part, str))
    options = [option for bag in bags for option in declared(type(bag)).values()]
    flags = (o.flag for o in options if key == (o.key or f"options.{o.name}"))
    reason = first["msg"].removeprefix("Value error, ")
    return PlanError(f"{next(flags, key)}: {reason}")


def _type_of(option: Option) -> Any:
    """The type of a key."""
    if option.known:
        named = Annotated[str, BeforeValidator(partial(_check_name, option.known))]
        return named | None if option.unsaid is None else named
    kinds = reduce(or_, (_bounded(kind, option) for kind in option.kinds if kind is not Path))
    if option.check:
        kinds = Annotated[kinds, AfterValidator(partial(_checked, option.check, option.name))]
    return kinds | None if option.unsaid is None else kinds


def _checked(check: Callable[[str, Any], None], name: str, value: Any) -> Any:
    """The value, if the check of its option does not say what is wrong with it; names need none."""
    try:
        if not isinstance(value, str):
            check(name, value)
    except PlanError as error:
        raise ValueError(error.message) from None
    return value


def _bounded(kind: Any, option: Option) -> Any:
    if kind is str:
        return TEXTS[option.text]
    if kind is int:
        return Annotated[int, Field(strict=True, ge=option.least)]
    if kind is float:
        return Annotated[float, Field(gt=0)]
    return LISTS.get(kind, kind)


def _check_name(known: Callable[[], Iterable[str]], value: object) -> object:
    if isinstance(value, str) and value not in (names := tuple(known())):
        near = nearest(value, names)
        hint = f"; {near}" if near.startswith("did") else ""
        raise ValueError(f"there is no {value[:40]!r}: use {', '.join(names)}{hint}")
    return value
