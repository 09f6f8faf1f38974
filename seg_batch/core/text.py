"""Names as text: the nearest known name, lists in words, invisible characters escaped."""

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"  # of a bundle, and so of its folder
NAME_LENGTH = 100  # of one in a library


def as_name(text: str) -> str:
    """A text as the name of a bundle."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).lstrip("._-")
    return name[:NAME_LENGTH].rstrip("-") or "model"


def nearest(name: object, known: Iterable[str]) -> str:
    """``"did you mean dice?"``, or the list of ``known`` names where none is near ``name``; capitals and
    hyphens do not count."""
    names = {_plain(text): text for text in known}
    close = difflib.get_close_matches(_plain(str(name)[:80]), names, n=1, cutoff=0.5)
    return f"did you mean {names[close[0]]}?" if close else f"known are {', '.join(names.values())}"


def either(names: Sequence[str]) -> str:
    """``"a, b or c"``."""
    return f"{', '.join(names[:-1])} or {names[-1]}"


def about(name: str, text: str) -> str:
    """``name: text``, or the text alone where it begins with the name."""
    return text if text.startswith((f"{name}:", f"{name} ")) else f"{name}: {text}"


def other_separator(table: str) -> str | None:
    """What is wrong with a CSV whose first line separates its columns otherwise than by commas, and what to
    do; None where it has commas, or a single column."""
    first = table.partition("\n")[0]
    signs = ((";", "semicolons"), ("\t", "tabs"), ("|", "bars"))
    name = next((name for sign, name in signs if sign in first and "," not in first), None)
    return name and f"its columns are separated by {name}: separate them by commas"


class Once:
    """Warnings that concern a whole run, and are told of its first input alone."""

    OF_RUN = ("units of length are not stated",)

    def __init__(self) -> None:
        self._told: set[str] = set()

    def left(self, warnings: Iterable[str]) -> list[str]:
        """The warnings of the next input without those that were told."""
        left = [text for text in warnings if text not in self._told]
        self._told.update(text for text in left if text.startswith(self.OF_RUN))
        return left


def with_short_uids(text: str, instead: str = "") -> str:
    """The text with ``instead`` of each UID of DICOM, by default its last digits: ``…98.4711``; its first are those of a
    scanner. ``#`` before one becomes a comma."""

    def shortened(uid: re.Match[str]) -> str:
        return (", " if uid[1] else "") + (instead or f"\N{HORIZONTAL ELLIPSIS}{uid[2][-8:]}")

    return _UID.sub(shortened, text)


def without_colours(text: str) -> str:
    """The text without the sequences that colour it on a terminal."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def visible(text: str) -> str:
    """The text with invisible characters escaped (``\\x1b``, ``\\u202e``): control characters, marks of
    the reading direction, undecodable bytes of a file name."""
    return "".join(c if unicodedata.category(c) not in _INVISIBLE else _escaped(c) for c in text)


def legible(text: str) -> str:
    """``visible`` for each line."""
    return "\n".join(map(visible, text.split("\n")))


_UID = re.compile(r"(#)?(?<![\w.])([0-2](?:\.\d+){5,})(?![\w.]*\w)")
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def _escaped(character: str) -> str:
    codec = "unicode_escape" if character < "\x80" else "ascii"
    return character.encode(codec, "backslashreplace").decode("ascii")


def _plain(name: str) -> str:
    return name.replace("-", "_").lower()
