"""Values of a document that somebody else wrote: each is checked where it is taken, and errors name the way to it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_batch.config.yaml_source import parse_tree, text_of
from seg_batch.core.errors import InputError

MOST_BYTES = 8 << 20  # of a document


@dataclass(frozen=True)
class Entry:
    """A value, the file it stands in and the way to it there. A key that is missing is an entry of None."""

    value: Any
    where: str
    way: str = ""

    def __getitem__(self, key: str | int) -> Entry:
        """Of a mapping or a list; of None, None."""
        way = f"{self.way}[{key}]" if isinstance(key, int) else f"{self.way}.{key}".lstrip(".")
        if isinstance(key, int):
            items = self.value if isinstance(self.value, list) else []
            return Entry(items[key] if key < len(items) else None, self.where, way)
        return Entry(self.mapping().get(key), self.where, way)

    def __iter__(self) -> Iterator[Entry]:
        """The items of a list; none of None."""
        if self.value is not None and not isinstance(self.value, list):
            raise self.refused("a list")
        return (self[i] for i in range(len(self.value or ())))

    def __bool__(self) -> bool:
        return self.value is not None

    def only(self, what: str) -> Entry:
        """The one item of a list, or of keys and values; InputError where there are more or none."""
        named = isinstance(self.value, dict)
        items = [self[key] for key in self.mapping()] if named else list(self)
        if len(items) != 1:
            raise self.error(
                f"the model has {len(items)} {what}, and one is taken: export it with one"
            )
        return items[0]

    def mapping(self) -> dict[str, Any]:
        """Its keys and values; none of None."""
        if self.value is not None and not isinstance(self.value, dict):
            raise self.refused("keys and values")
        return self.value or {}

    def text(self, default: str | None = None) -> str:
        value = default if self.value is None else self.value
        if not isinstance(value, str):
            raise self.refused("text")
        return str(value)

    def number(self, default: float | None = None) -> float:
        value = default if self.value is None else self.value
        if isinstance(value, bool) or not isinstance(value, int | float) or not _finite(value):
            raise self.refused("a finite number")
        return float(value)

    def integer(self, default: int | None = None) -> int:
        value = self.number(default)
        if value != int(value):
            raise self.refused("a whole number")
        return int(value)

    def flag(self, default: bool = False) -> bool:
        value = default if self.value is None else self.value
        if not isinstance(value, bool):
            raise self.refused("true or false")
        return value

    def numbers(self, count: int) -> tuple[float, ...]:
        """One number for each of ``count``; a single one, or a list of one, is that of all."""
        if isinstance(self.value, list):
            each = tuple(item.number() for item in self)
            if len(each) not in (1, count):
                raise self.refused(f"one number, or {count}")
            return each * count if len(each) == 1 else each
        return (self.number(),) * count

    def texts(self) -> tuple[str, ...]:
        """A list of texts, or a single one."""
        if isinstance(self.value, str):
            return (self.value,)
        return tuple(item.text() for item in self)

    def error(self, problem: str) -> InputError:
        """``problem``: what was found, why it hurts and what to do."""
        return InputError(f"{self.where}: {self.way + ': ' if self.way else ''}{problem}")

    def refused(self, expected: str) -> InputError:
        if self.value is None:
            return self.error(f"is missing, and {expected} is needed: add it")
        return self.error(f"{self.shown} stands where {expected} is expected: mend it")

    @property
    def shown(self) -> str:
        """The value in a line."""
        text = repr(self.value)
        return text if len(text) <= 60 else f"{text[:57]}..."


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False


def document(path: Path) -> Entry:
    """The values of a JSON or YAML file; InputError where it is neither, is too large or no mapping."""
    text = text_of(path, MOST_BYTES)
    if path.suffix.lower() == ".json":
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path} is not JSON ({error}): mend it") from None
    else:
        value = parse_tree(text, str(path)).plain
    if not isinstance(value, dict):
        raise InputError(f"{path} holds no keys and values: name the card of a model")
    return Entry(value, str(path))


def is_text_of(path: Path, *needed: str) -> bool:
    """Whether a file is small enough for a document and has all of these texts in it."""
    try:
        if not path.is_file() or path.stat().st_size > MOST_BYTES:
            return False
        data = path.read_bytes()
    except OSError:
        return False
    return all(part.encode() in data for part in needed)
