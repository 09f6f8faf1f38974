"""Whether a value is what a TypedDict declares, all the way down: no key missing, none undeclared."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import (
    Any,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)


def drift(value: Any, declared: Any, at: str = "") -> list[str]:
    """What differs, one line each; empty where declaration and value agree."""
    return list(_drift(value, declared, at))


def _drift(value: Any, declared: Any, at: str) -> Iterator[str]:
    if get_origin(declared) in (NotRequired, Required):
        declared = get_args(declared)[0]
    origin, inner = get_origin(declared), get_args(declared)
    if is_typeddict(declared):
        yield from _keys(value, declared, at)
    elif origin in (Union, UnionType):
        if value is not None:
            yield from _drift(value, next(kind for kind in inner if kind is not type(None)), at)
    elif origin in (list, tuple) and inner:
        for k, item in enumerate(value):
            yield from _drift(item, inner[0], f"{at}[{k}]")
    elif origin is dict:
        for key, item in value.items():
            yield from _drift(item, inner[1], f"{at}.{key}")
    elif isinstance(declared, type) and declared is not float and not isinstance(value, declared):
        yield f"{at} is {value!r}, declared {declared.__name__}"


def _keys(value: dict[str, Any], declared: Any, at: str) -> Iterator[str]:
    kinds = get_type_hints(declared, include_extras=True)
    for key in sorted(declared.__required_keys__ - value.keys()):
        yield f"{at}.{key} is declared and not there"
    for key in sorted(value.keys() - kinds.keys()):
        yield f"{at}.{key} is there and not declared"
    for key in sorted(value.keys() & kinds.keys()):
        yield from _drift(value[key], kinds[key], f"{at}.{key}")
