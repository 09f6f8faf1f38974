"""Advice for a name that is not known: the one that was meant, or all that there are."""

import difflib
from collections.abc import Iterable


def nearest(found: object, known: Iterable[str]) -> str:
    """``"did you mean dice?"``, or the list of `known` where none of them is near `found`.

    Capitals and hyphens do not count."""
    names = {_plain(name): name for name in known}
    close = difflib.get_close_matches(_plain(str(found)[:80]), names, n=1, cutoff=0.5)
    return f"did you mean {names[close[0]]}?" if close else f"known are {', '.join(names.values())}"


def _plain(name: str) -> str:
    return name.replace("-", "_").lower()
