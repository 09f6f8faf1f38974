"""The place of an NRRD: the affine of its space, in RAS+."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from seg_batch.core.georef import VolumeGeoref
from seg_batch.io.sources.formats.volumes.header_text import fault, integers
from seg_batch.io.sources.formats.volumes.layout import placed, whole_affine
from seg_batch.io.sources.formats.volumes.nrrd_axes import Axes, vector

# What a space is called -> the signs that lead from it to RAS+.
_RAS, _LAS, _LPS = (1.0, 1.0, 1.0), (-1.0, 1.0, 1.0), (-1.0, -1.0, 1.0)
_SPACES = {
    "ras": _RAS,
    "right-anterior-superior": _RAS,
    "las": _LAS,
    "left-anterior-superior": _LAS,
    "lps": _LPS,
    "left-posterior-superior": _LPS,
}
_UNNAMED = ("scanner-xyz", "3d-right-handed", "3d-left-handed")
_AS_LPS = "its directions are taken as left, posterior and superior, as ITK does"
# nibabel's words for units, and millimetres for those that it has none for.
_UNITS = {
    "mm": ("mm", 1.0), "millimeter": ("mm", 1.0), "millimeters": ("mm", 1.0), "millimetre": ("mm", 1.0),
    "m": ("meter", 1.0), "meter": ("meter", 1.0), "meters": ("meter", 1.0),
    "um": ("micron", 1.0), "µm": ("micron", 1.0), "μm": ("micron", 1.0), "micron": ("micron", 1.0),
    "microns": ("micron", 1.0), "micrometer": ("micron", 1.0),
    "cm": ("mm", 10.0), "nm": ("mm", 1e-6), "inch": ("mm", 25.4), "in": ("mm", 25.4),
}  # fmt: skip


def place_of(
    path: Path, fields: dict[str, str], axes: Axes
) -> tuple[VolumeGeoref, tuple[str, ...]]:
    """The georeference, and what is odd about it, one sentence each."""
    told: list[str] = []
    signs, rank = _space(path, fields, axes, told)
    columns = _columns(path, fields, axes, rank, told)
    origin = _origin(path, fields, axes, columns, rank, told)
    unit, factor = _unit(path, fields, told)
    affine = whole_affine(columns, origin)
    affine[:3] *= np.array(signs)[:, None] * factor
    if axes.spatial and len(axes.spatial) == 2:
        affine[:3, 2] /= factor
    georef, lines = placed(path, affine, unit)
    return georef, (*told, *lines)


def _space(
    path: Path, fields: dict[str, str], axes: Axes, told: list[str]
) -> tuple[tuple[float, ...], int]:
    """The signs that lead to RAS+, and the number of dimensions of the space that count."""
    name = fields.get("space", "").lower()
    plain = name.removesuffix("-time")
    plain = plain[:-1] if plain in ("rast", "last", "lpst") else plain
    if plain in _SPACES:
        return _SPACES[plain], 3
    if name and plain not in _UNNAMED:
        raise fault(path, f"names the space {name[:40]!r}, which is none of the format's")
    if name or "space dimension" in fields:
        rank = 3
        if not name:
            (rank,) = integers(path, "space dimension", fields["space dimension"], 1)
        if rank not in (2, 3, 4):
            raise fault(path, f"has a space of {rank} dimensions")
        told.append(
            f"its space ({name or 'without a name'}) names no directions of a patient: {_AS_LPS}"
        )
        return _LPS, min(rank, 3)
    if axes.directions:
        raise fault(path, "has space directions and neither a space nor its dimension")
    told.append(f"it states voxel sizes and no orientation: {_AS_LPS}")
    return _LPS, len(axes.spatial)


def _columns(
    path: Path, fields: dict[str, str], axes: Axes, rank: int, told: list[str]
) -> np.ndarray:
    """The directions of the axes of space, ``(rank, 2 or 3)``."""
    if axes.directions:
        found = [axes.directions[axis] or () for axis in axes.spatial]
        lengths = {len(d) for d in axes.directions if d is not None}
        if lengths - {rank, rank + 1} or len(lengths) != 1 or any(any(d[rank:]) for d in found):
            raise fault(path, f"has space directions that are no vectors in {rank} dimensions")
        return np.array([d[:rank] for d in found]).T
    sizes = _per_axis(path, fields, "spacings", axes)
    if any(not math.isfinite(size) or size == 0 for size in sizes):
        told.append("it does not state the size of its voxels along every axis: 1 is assumed there")
    sizes = [size if math.isfinite(size) and size else 1.0 for size in sizes]
    return np.eye(rank, len(sizes)) * sizes


def _per_axis(path: Path, fields: dict[str, str], name: str, axes: Axes) -> list[float]:
    """The numbers of the axes of space in a field of one per axis; NaN where it states none."""
    if name not in fields:
        return [math.nan] * len(axes.spatial)
    try:
        found = [float(word) for word in fields[name].split()]
    except ValueError:
        raise fault(path, f"has no numbers as {name} ({fields[name][:80]!r})") from None
    if len(found) <= max(axes.spatial):
        raise fault(path, f"has {len(found)} numbers as {name}, which are too few for its axes")
    return [found[axis] for axis in axes.spatial]


def _origin(
    path: Path, fields: dict[str, str], axes: Axes, columns: np.ndarray, rank: int, told: list[str]
) -> np.ndarray:
    """The centre of the first voxel."""
    if "space origin" in fields:
        found = vector(path, "space origin", fields["space origin"])
        if found is None or len(found) not in (rank, rank + 1):
            raise fault(path, f"has a space origin that is no place in {rank} dimensions")
        return np.array(found[:rank])
    if "axis mins" in fields and not axes.directions:
        return _from_mins(path, fields, axes, columns)
    told.append("it states no origin: 0 is assumed")
    return np.zeros(rank)


def _from_mins(path: Path, fields: dict[str, str], axes: Axes, columns: np.ndarray) -> np.ndarray:
    """``axis mins`` are the outer borders of cells, and the centres of nodes."""
    mins = np.array(_per_axis(path, fields, "axis mins", axes))
    centers = fields.get("centers", "").lower().split() or ["cell"] * (max(axes.spatial) + 1)
    if not np.isfinite(mins).all() or len(centers) <= max(axes.spatial):
        raise fault(path, "has axis mins or centers that do not tell its place")
    half = np.array([0.0 if centers[axis] == "node" else 0.5 for axis in axes.spatial])
    return np.asarray(mins + half * np.diag(columns))


def _unit(path: Path, fields: dict[str, str], told: list[str]) -> tuple[str, float]:
    """nibabel's word, and what the affine is multiplied by. Without a word, millimetres: medical programs write
    none."""
    words = {word.strip() for word in re.findall(r'"([^"]*)"', fields.get("space units", ""))}
    words -= {"", "???"}
    if len(words) > 1:
        words -= {"s", "sec", "ms", "msec"}  # of an axis of time
    if len(words) > 1:
        raise fault(path, f"measures its axes in different units ({', '.join(sorted(words))})")
    word = next(iter(words), "mm")
    if word not in _UNITS and word.lower() not in _UNITS:
        told.append(f"its unit of length {word[:40]!r} is not known: millimetres are assumed")
        return "mm", 1.0
    unit, factor = _UNITS.get(word) or _UNITS[word.lower()]
    if unit != "mm" or factor != 1:
        told.append(f"units of length are {word}, not millimetres")
    return unit, factor
