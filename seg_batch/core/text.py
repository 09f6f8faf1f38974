"""Names: which one was meant where one is not known, how any may be shown, and shown once."""

import difflib
import unicodedata
from collections.abc import Iterable, Sequence


def nearest(found: object, known: Iterable[str]) -> str:
    """``"did you mean dice?"``, or the list of `known` where none of them is near `found`.

    Capitals and hyphens do not count."""
    names = {_plain(name): name for name in known}
    close = difflib.get_close_matches(_plain(str(found)[:80]), names, n=1, cutoff=0.5)
    return f"did you mean {names[close[0]]}?" if close else f"known are {', '.join(names.values())}"


def either(names: Sequence[str]) -> str:
    """``"a, b or c"``."""
    return f"{', '.join(names[:-1])} or {names[-1]}"


def about(name: str, text: str) -> str:
    """``name: text``, with the name once where the text begins with it."""
    return text if text.startswith((f"{name}:", f"{name} ")) else f"{name}: {text}"


def visible(text: str) -> str:
    """The text with what can't be seen written out: control characters, marks that turn the
    direction of reading, bytes of a file name that are no text become ``\\x1b``, ``\\u202e``."""
    return "".join(c if unicodedata.category(c) not in _UNSEEN else _written_out(c) for c in text)


def legible(text: str) -> str:
    """``visible``, line by line."""
    return "\n".join(map(visible, text.split("\n")))


_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def _written_out(character: str) -> str:
    escaped = character.encode(
        "unicode_escape" if character < "\x80" else "ascii", "backslashreplace"
    )
    return escaped.decode("ascii")


def _plain(name: str) -> str:
    return name.replace("-", "_").lower()
