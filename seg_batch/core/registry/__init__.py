"""Values by name; the module of each is loaded at its first use."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, MutableMapping


class Registry[T](MutableMapping[str, T]):
    """``places``: each name with ``module:attribute`` of its value.

    Names are listed without imports; reading a value imports its module. So a package can read values
    that a later row of packages registers: it knows their type and their modules only.
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
        del self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._places, *self._values)))

    def __len__(self) -> int:
        return len(self._places.keys() | self._values.keys())
