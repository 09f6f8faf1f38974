"""Advice for a name that is not known."""

import difflib
from collections.abc import Iterable


def nearest(found: object, known: Iterable[str]) -> str:
    """``"did you mean dice?"``, or the list of `known` where none of them is near `found`."""
    names = list(known)
    close = difflib.get_close_matches(str(found).replace("-", "_").lower(), names, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(names)}"
