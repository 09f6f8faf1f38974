"""A configuration of MONAI as plain data: references within the file are followed, expressions never run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from seg_batch.conversion.cards.entry import Entry

_MOST_STEPS = 100  # of one reference and of those within it
_PREFIXES = ("monai.transforms.", "monai.inferers.")


class Config:
    """``entry`` gives a part of the file with its references followed."""

    def __init__(self, root: Entry) -> None:
        self.root = root

    def entry(self, entry: Entry, steps: Iterator[int] | None = None) -> Entry:
        """What a value is, or stands for: ``@a#b`` is the value of ``b`` in ``a``. InputError for an expression, another
        file, or a reference that leads nowhere. ``steps``: those that are left."""
        steps = iter(range(_MOST_STEPS)) if steps is None else steps
        for _ in steps:
            value = entry.value
            if not isinstance(value, str) or not value or value[0] not in "@$%":
                return entry
            if value[0] == "$":
                raise entry.error(
                    f"{entry.shown} is an expression, and code is never run: write its value out"
                )
            if value[0] == "%":
                raise entry.error(f"{entry.shown} is in another place or file: write its value out")
            entry = self._named(value[1:], entry, steps)
        raise entry.error("references lead in a circle: write the value out")

    def _named(self, name: str, asked: Entry, steps: Iterator[int]) -> Entry:
        at: Any = self.root
        for part in name.replace("::", "#").split("#"):
            at = self.entry(at, steps)
            at = at[int(part)] if part.isdecimal() and isinstance(at.value, list) else at[part]
            if not at:
                raise asked.error(f"{asked.shown} leads nowhere: write the value out")
        return Entry(at.value, asked.where, asked.way)

    def items(self, entry: Entry) -> list[Entry]:
        """The items of a list, each with its references followed; a single value as a list of it."""
        entry = self.entry(entry)
        if not isinstance(entry.value, list):
            return [entry] if entry else []
        return [self.entry(item) for item in entry]

    def number(self, entry: Entry, default: float | None = None) -> float:
        return self.entry(entry).number(default)

    def flag(self, entry: Entry, default: bool = False) -> bool:
        return self.entry(entry).flag(default)

    def components(self, entry: Entry) -> list[Entry]:
        """The transforms of a ``Compose``, or a list of them, without those that are disabled."""
        entry = self.entry(entry)
        if isinstance(entry.value, dict):
            if self.target(entry) != "Compose":
                return [entry]
            entry = self.entry(entry["transforms"])
        parts = [self.entry(item) for item in entry]
        return [part for part in parts if not self.flag(part["_disabled_"])]

    def target(self, entry: Entry) -> str:
        """The name of a component, without MONAI's own package."""
        name = entry["_target_"].text()
        for prefix in _PREFIXES:
            if name.startswith(prefix):
                return name.rsplit(".", 1)[-1]
        return name

    def keys(self, entry: Entry) -> tuple[str, ...]:
        """The names of what a transform is for."""
        return tuple(item.text() for item in self.items(entry["keys"]))
