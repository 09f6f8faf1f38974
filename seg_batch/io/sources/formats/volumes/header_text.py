"""Headers of text, and the numbers in them, with one line for what is none."""

from __future__ import annotations

import math
from pathlib import Path

from seg_batch.core.errors import InputError
from seg_batch.core.units import show_bytes

HEADER_BYTES = 4 << 20  # of hundreds of segments with their terms, some 100 kB
_MOST_AXES = 16


def header_start(path: Path) -> bytes:
    """The part of a file that may be header."""
    with path.open("rb") as file:
        return file.read(HEADER_BYTES)


def fault(path: Path, what: str, remedy: str = "mend it, or write the file anew") -> InputError:
    """A refusal of a header. ``what``: what was found."""
    return InputError(f"{path}: its header {what}; {remedy}")


def endless(path: Path) -> InputError:
    return fault(path, f"does not end within {show_bytes(HEADER_BYTES)}", "copy it again")


def numbers(path: Path, name: str, text: str, count: int | None = None) -> list[float]:
    """The numbers of a field, of which none is NaN or infinite. ``count``: how many they must be."""
    words = text.replace(",", " ").split()
    try:
        found = [float(_digits(word)) for word in words]
    except ValueError:
        raise fault(path, f"has no numbers as {name} ({text[:80]!r})") from None
    if count is not None and len(found) != count:
        raise fault(path, f"has {len(found)} numbers as {name}, where {count} are needed")
    if not all(map(math.isfinite, found)):
        raise fault(path, f"has a number as {name} that is none ({text[:80]!r})")
    return found


def integers(path: Path, name: str, text: str, count: int | None = None) -> list[int]:
    """The same of whole numbers, exactly as they are written."""
    try:
        found = [int(_digits(word)) for word in text.split()]
    except ValueError:
        raise fault(path, f"has no whole numbers as {name} ({text[:80]!r})") from None
    if count is not None and len(found) != count:
        raise fault(path, f"has {len(found)} numbers as {name}, where {count} are needed")
    return found


def _digits(word: str) -> str:
    """ValueError for what Python takes as a number and no other program does: ``1_000``, digits of other scripts."""
    if "_" in word or not word.isascii():
        raise ValueError(word)
    return word


def axis_lengths(path: Path, axes: str, name: str, text: str) -> list[int]:
    """The lengths of the axes, whose number the text ``axes`` holds."""
    (count,) = integers(path, "the number of axes", axes, 1)
    if not 1 <= count <= _MOST_AXES:
        raise fault(path, f"declares {count} axes")
    lengths = integers(path, name, text, count)
    if min(lengths) < 1:
        raise fault(path, f"declares axes of {' x '.join(map(str, lengths))} voxels")
    return lengths
