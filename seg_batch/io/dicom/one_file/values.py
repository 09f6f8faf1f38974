"""Values of elements, whatever a writer put there: of another VR, several for one, or no numbers at all."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

_PLAIN = {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI"}  # in ASCII (PS3.5 6.2)
_SHOWN = 24  # characters of a value in a message
_WHOLE = 1 << 63
_MOST_NUMBERS = 64


class Values:
    """The values of a data set. ``faults``: what was there and is no number, of elements that decide where or what pixels
    are; of others such a value counts as none."""

    def __init__(self, data: Dataset) -> None:
        self.data, self.faults = data, list[str]()

    def text(self, keyword: str) -> str:
        """One line of text, empty where there is none."""
        value = self._raw(keyword)
        if isinstance(value, bytes):
            value = value.decode("ascii", "replace")
        return " ".join(str(value).replace("\0", " ").split()) if value is not None else ""

    def texts(self, keyword: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in _parts(self._raw(keyword)))

    def number(self, keyword: str, *, decides: bool = False) -> float | None:
        """One finite number. ``decides``: a value that is none is a fault."""
        found = self.numbers(keyword, 1, decides=decides)
        return found[0] if found else None

    def whole(self, keyword: str, *, decides: bool = False) -> int | None:
        number = self.number(keyword, decides=decides)
        if number is None or abs(number) >= _WHOLE:
            return None
        return int(number)

    def numbers(
        self, keyword: str, count: int, *, decides: bool = False
    ) -> tuple[float, ...] | None:
        """So many finite numbers; None where there are none, or not so many."""
        parts = _parts(self._raw(keyword))
        if not parts:
            return None
        try:
            found = tuple(map(float, parts))
        except ValueError:
            found = ()
        if len(found) == count and all(map(math.isfinite, found)):
            return found
        if decides:
            words = "\\".join(parts)[:_SHOWN]
            self.faults.append(f"its {keyword} is {words!r}, where {count} finite numbers belong")
        return None

    def items(self, keyword: str) -> list[Dataset]:
        """The items of a sequence, empty where there is none."""
        value = self._raw(keyword)
        if value is None or isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
            return []
        return [item for item in value if isinstance(item, Dataset)]

    def item(self, keyword: str) -> Values:
        """The first item of a sequence, empty where there is none."""
        items = self.items(keyword)
        inner = Values(items[0] if items else Dataset())
        inner.faults = self.faults
        return inner

    def has(self, keyword: str) -> bool:
        """Whether the element is there, with a value."""
        return self._raw(keyword) not in (None, "", b"")

    def _raw(self, keyword: str) -> Any:
        """The value as pydicom has it, or its bytes where these are plain text, which is most of the time of a survey."""
        tag = _tag(keyword)
        if tag not in self.data.keys():  # noqa: SIM118 (as an int: ``in data`` makes a tag of it)
            return None
        raw = self.data.get_item(tag)
        if raw.VR in _PLAIN and isinstance(raw.value, bytes):
            return raw.value
        try:
            return self.data.get(keyword)
        except RecursionError:
            raise
        except Exception:  # pydicom converts a value as it is asked for
            return self._unconverted(keyword)

    def _unconverted(self, keyword: str) -> Any:
        return getattr(self.data.get_item(_tag(keyword)), "value", None)


@cache
def _tag(keyword: str) -> int:
    return tag_for_keyword(keyword) or 0


def _parts(value: Any) -> list[str]:
    """The parts of a value, as text."""
    if value is None:
        return []
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    if isinstance(value, str):
        value = value.strip("\0 ")
        return value.split("\\")[:_MOST_NUMBERS] if value else []
    if isinstance(value, (MultiValue, list, tuple)):
        return [str(part) for part in value[:_MOST_NUMBERS]]
    return [str(value)]
