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


def drift(value: Any, declared: Any, at: str = "", *, whole: bool = False) -> list[str]:
    """What differs, one line each; empty where they agree. ``whole``: of the outermost, keys that need
    not be there are asked for, too."""
    kinds = get_type_hints(declared) if whole else {}
    missing = [f"{at}.{key} is declared and not there" for key in kinds if key not in value]
    return [*missing, *_drift(value, declared, at)]


def _drift(value: Any, declared: Any, at: str) -> Iterator[str]:
    if get_origin(declared) in (NotRequired, Required):
        declared = get_args(declared)[0]
    if is_typeddict(declared):
        yield from _keys(value, declared, at)
    elif get_origin(declared) is not None:
        yield from _inside(value, get_origin(declared), get_args(declared), at)
    elif declared is not Any:
        kind = (int, float) if declared is float else declared
        if not isinstance(value, kind):
            yield f"{at} is {value!r}, declared {declared.__name__}"


def _inside(value: Any, origin: Any, inner: tuple[Any, ...], at: str) -> Iterator[str]:
    if origin in (Union, UnionType):
        if value is not None:
            yield from _drift(value, next(kind for kind in inner if kind is not type(None)), at)
    elif origin is list:
        for k, item in enumerate(value):
            yield from _drift(item, inner[0], f"{at}[{k}]")
    elif origin is dict:
        for key, item in value.items():
            yield from _drift(item, inner[1], f"{at}.{key}")


def _keys(value: dict[str, Any], declared: Any, at: str) -> Iterator[str]:
    kinds = get_type_hints(declared, include_extras=True)
    optional = {key for key, kind in kinds.items() if get_origin(kind) is NotRequired}
    for key in sorted(declared.__required_keys__ - optional - value.keys()):
        yield f"{at}.{key} is declared and not there"
    for key in sorted(value.keys() - kinds.keys()):
        yield f"{at}.{key} is there and not declared"
    for key in sorted(value.keys() & kinds.keys()):
        yield from _drift(value[key], kinds[key], f"{at}.{key}")
