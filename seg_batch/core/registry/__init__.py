"""A registry of values by name, each imported from its module at its first use."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, MutableMapping


class Registry[T](MutableMapping[str, T]):
    """``places``: name -> ``"module:attribute"`` of its value.

    Listing names imports nothing; reading a value imports its module. So a lower package can use what a
    higher one defines: it knows only the value's type and place.
    """

    def __init__(self, places: dict[str, str]) -> None:
        self._places = places
        self._values: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        if name not in self._values:
            module, _, attribute = self._places[name].partition(":")
            self._values[name] = getattr(importlib.import_module(module), attribute)
        return self._values[name]

    def __setitem__(self, name: str, value: T) -> None:
        self._values[name] = value

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self._values.pop(name, None)
        self._places.pop(name, None)

    def __contains__(self, name: object) -> bool:
        return name in self._places or name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._places, *self._values)))

    def __len__(self) -> int:
        return len(self._places.keys() | self._values.keys())
