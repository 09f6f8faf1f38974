"""Which words of a text may be told of an image that is not to be known.

A message may quote anything: a path, a patient's name, a UID, whatever a library found in a header. To look for
what is known to be secret would miss what nobody thought of. So it is the other way round: told are the
words that segbatch itself writes, those that are named as public, and short numbers.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

WITHHELD = "[...]"
_LITERAL = re.compile(r'"([^"\n]+)"')
_DOCSTRING = re.compile(r'"""[\s\S]*?"""')
_TIMES = 4  # quotation marks may come to stand otherwise
_WORD = re.compile(r"[^\W\d_]+")
_QUOTED = r"(?<!\w)'[^'\n]*'(?!\w)|\"[^\"\n]*\""
_TOKEN = r"\w(?:[\w.:/\\%+~@#^*-]*\w)?"
_SEVERAL = re.compile(rf"{re.escape(WITHHELD)}(?:[\s.,:/#&;-]*{re.escape(WITHHELD)})+")
# Dates, UIDs, and numbers as long as those by which people are known; a decimal fraction may be long.
_TELLING = re.compile(
    r"\d{4}[-/.:]\d{1,2}[-/.:]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}|\d+(?:\.\d+){3,}|(?<![\d.])\d{6,}|(?<=\d{4}\.)\d{6,}"
)


@cache
def own_words() -> frozenset[str]:
    """The words in the texts of segbatch's own code, without capitals. Where the code can't be read there are none, and
    every word is withheld."""
    words = set[str]()
    for path in Path(__file__).resolve().parents[2].rglob("*.py"):
        code = _DOCSTRING.sub("", path.read_text(encoding="utf-8"))
        for text in _LITERAL.findall(code):
            words.update(word.casefold() for word in _WORD.findall(text))
    return frozenset(words)


class Gate:
    """Lets through what may be told of a text. ``public``: texts that may, as they are; ``replaced``: texts that may not, in
    small letters, and what stands for each. Where several begin at one place the longest counts."""

    def __init__(self, public: Iterable[str], replaced: Mapping[str, str]) -> None:
        self._kept = {each.casefold() for each in public if each}
        self._replaced = replaced
        names = sorted(self._kept | replaced.keys(), key=len, reverse=True)
        known = rf"(?<![^\W_])(?i:{'|'.join(map(re.escape, names)) or '(?!)'})(?![^\W_])"
        self._pieces = re.compile(f"(?P<known>{known})|(?P<quoted>{_QUOTED})|{_TOKEN}")
        secret = "|".join(map(re.escape, replaced.keys() - self._kept)) or "(?!)"
        self._secret = re.compile(rf"(?<![^\W_])(?i:{secret})(?![^\W_])")

    def told(self, text: str) -> str:
        for _ in range(_TIMES):
            before, text = text, _SEVERAL.sub(WITHHELD, self._pieces.sub(self._piece, text))
            if text == before:
                break
        return text

    def _piece(self, match: re.Match[str]) -> str:
        found = match[0]
        small = found.casefold()
        if match["known"]:
            return found if small in self._kept else self._replaced.get(small, WITHHELD)
        if match["quoted"]:
            return found if small[1:-1] in self._kept else f"{found[0]}{WITHHELD}{found[0]}"
        return found if may_be_told(found) and not self._secret.search(found) else WITHHELD


def may_be_told(token: str) -> bool:
    """Whether a piece of text without blanks consists of words of our own and of short numbers."""
    if _TELLING.search(token):
        return False
    if isinstance(getattr(builtins, token, None), type):  # ValueError
        return True
    words = (word.casefold() for word in _WORD.findall(token))
    return all(word in own_words() or (len(word) == 1 and word.isascii()) for word in words)
