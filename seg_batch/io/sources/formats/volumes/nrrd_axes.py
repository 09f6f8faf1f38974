"""The axes of an NRRD: those of space, the components of a voxel, and the volumes of a series."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Shape
from seg_batch.io.sources.formats.volumes.header_text import fault

_SPACE = ("domain", "space")
_PLAIN = (
    *("list", "vector", "point", "normal", "scalar", "stub", "time", "???", "none"),
    *("2-vector", "3-vector", "4-vector", "covariant-vector", "3-gradient", "3-normal"),
    *("3-color", "4-color", "rgb-color", "rgba-color"),
)
_VECTOR = re.compile(r"none|\([^()]*\)", re.IGNORECASE)

# The direction of an axis as it is written; None: it is none of space.
Direction = tuple[float, ...] | None


@dataclass(frozen=True)
class Axes:
    """``spatial``: the indices of the two or three axes of space, the fastest first; ``shape``: ``(z, y, x)``.
    ``directions``: of each axis, where they are stated."""

    spatial: tuple[int, ...]
    shape: Shape
    components: int
    volumes: int
    directions: tuple[Direction, ...] = ()


def axes_of(path: Path, fields: dict[str, str], lengths: list[int]) -> Axes:
    """``InputError`` where a voxel is not one place with numbers side by side."""
    directions = _directions(path, fields, len(lengths))
    kinds = _kinds(path, fields, len(lengths))
    spatial = _spatial(kinds, directions)
    if not 2 <= len(spatial) <= 3 or spatial != tuple(range(spatial[0], spatial[-1] + 1)):
        raise InputError(
            f"{path}: an NRRD of {len(lengths)} axes, of which those of space are "
            f"{', '.join(str(axis + 1) for axis in spatial) or 'none'}: two or three that follow one "
            "another are read; permute or crop it first (unu permute, unu slice)"
        )
    before, after = lengths[: spatial[0]], lengths[spatial[-1] + 1 :]
    several = [n for n in before if n > 1], [n for n in after if n > 1]
    if max(map(len, several)) > 1:
        raise InputError(
            f"{path}: an NRRD of {' x '.join(map(str, lengths))}, whose voxels have several numbers along more "
            "than one axis; extract one volume first (unu slice)"
        )
    _refuse_tensors(path, [(kinds[a], lengths[a]) for a in range(len(lengths)) if a not in spatial])
    i, j, k = (*(lengths[axis] for axis in spatial), 1)[:3]
    return Axes(spatial, (k, j, i), math.prod(before), math.prod(after), directions)


def _kinds(path: Path, fields: dict[str, str], count: int) -> list[str]:
    kinds = fields.get("kinds", "??? " * count).lower().split()
    if len(kinds) != count:
        raise fault(path, f"has {len(kinds)} kinds for {count} axes")
    return kinds


def _refuse_tensors(path: Path, others: list[tuple[str, int]]) -> None:
    for kind, length in others:
        if kind not in _PLAIN and kind not in _SPACE and length > 1:
            raise InputError(
                f"{path}: an NRRD with an axis of the kind {kind[:40]!r}, whose numbers are no channels of an "
                "image; compute a real quantity first (its magnitude, one colour)"
            )


def _directions(path: Path, fields: dict[str, str], count: int) -> tuple[Direction, ...]:
    """Those of ``space directions``; a vector of NaN is another way to write ``none``."""
    if "space directions" not in fields:
        return ()
    words = _VECTOR.findall(fields["space directions"])
    if len(words) != count or _VECTOR.sub("", fields["space directions"]).strip():
        raise fault(path, f"has {len(words)} readable space directions for {count} axes")
    return tuple(vector(path, "space directions", word) for word in words)


def vector(path: Path, name: str, word: str) -> Direction:
    """``(1,0,0)`` as numbers; None for ``none`` and where none of them is a number."""
    if word.lower() == "none":
        return None
    try:
        found = tuple(float(part) for part in word.strip().strip("()").split(","))
    except ValueError:
        raise fault(path, f"has no vector as {name} ({word[:80]!r})") from None
    if all(map(math.isnan, found)):
        return None
    if not all(map(math.isfinite, found)):
        raise fault(path, f"has a number in {name} that is none ({word[:80]!r})")
    return found


def _spatial(kinds: list[str], directions: tuple[Direction, ...]) -> tuple[int, ...]:
    """By their directions in space; else by their kinds; without either the first three."""
    if directions:
        return tuple(a for a, d in enumerate(directions) if d is not None and any(d[:3]))
    known = tuple(axis for axis, kind in enumerate(kinds) if kind in _SPACE)
    found = known or tuple(axis for axis, kind in enumerate(kinds) if kind in ("???", "none"))
    return found[:3] if len(found) == 4 else found
