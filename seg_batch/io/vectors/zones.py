"""Areas with names, like districts, on the pixels of a map."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from seg_batch.config.image_options.scene import FurtherOptions
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Shape
from seg_batch.core.georef import Georef
from seg_batch.core.text import nearest
from seg_batch.io.vectors.on_grid import features_on, require_place, text_of
from seg_batch.io.vectors.reading import field_names

NAMES = ("name", "id")  # of the field that is taken where none is named, in any case
ALL = "(all)"  # in place of a zone: the whole map
NAMELESS = "(no name)"
_ANY_OVERLAP = 0.5  # pixels; less is what moved borders leave


@dataclass(frozen=True, eq=False)
class Zones:
    """``names``: in the order of the file, each once; ``shapes``: polygons ``(n,)`` in pixels, those of one name in one;
    ``warnings``: one sentence each."""

    names: tuple[str, ...]
    shapes: np.ndarray
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, further: FurtherOptions, georef: Georef, extent: Shape, called: str) -> Zones:
        """Those of the options on a raster ``called`` so; InputError where they have no place or no name."""
        assert further.zones is not None
        require_place(georef, called, further.zones)
        stat = _stat(further.zones)
        return _read(further.zones, further.zone_field, georef, tuple(extent), stat)


def _stat(path: str) -> tuple[int, int]:
    try:
        stat = Path(path).stat()
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); check the path") from error
    return stat.st_mtime_ns, stat.st_size


@lru_cache(2)  # planned with, then counted in
def _read(
    path: str, field: str | None, georef: Georef, extent: Shape, stat: tuple[int, int]
) -> Zones:
    field = _field(path, field)
    features = features_on(path, georef, fields=(field,))
    named = [text_of(value) or NAMELESS for value in features.values[field]]
    if ALL in named:
        raise InputError(f"{path}: a zone is called {ALL}, as the whole map is: rename it")
    names = list(dict.fromkeys(named))
    shapes = _by_name(named, names, features.geometries)
    far = _outside(path, names, shapes, extent)
    lines = (*features.warnings, *far, *_overlaps(path, names, shapes, extent))
    return Zones(tuple(names), shapes, lines)


def _field(path: str, field: str | None) -> str:
    known = field_names(path)
    if field is not None:
        if field not in known:
            raise InputError(f"{path}: there is no field {field!r}; {nearest(field, known)}")
        return field
    usual = [name for wanted in NAMES for name in known if name.lower() == wanted]
    if not usual:
        raise InputError(
            f"{path}: none of its fields ({', '.join(known[:12]) or 'it has none'}) is called name or id: give --zone-field with the one "
            "that names its zones"
        )
    return usual[0]


def _by_name(named: list[str], names: list[str], geometries: np.ndarray) -> np.ndarray:
    """Of each name its features as one shape: districts of several islands are one."""
    import shapely

    parts: dict[str, list[int]] = {name: [] for name in names}
    for index, name in enumerate(named):
        parts[name].append(index)
    joined = [
        geometries[of_name[0]] if len(of_name) == 1 else shapely.union_all(geometries[of_name])
        for of_name in parts.values()
    ]
    return np.array(joined, object).reshape(-1)


def _outside(path: str, names: list[str], shapes: np.ndarray, extent: Shape) -> list[str]:
    import shapely

    whole = shapely.box(0, 0, extent[1], extent[0])
    away = np.flatnonzero(~shapely.intersects(shapes, whole))
    if not len(away):
        return []
    return [
        f"{path}: {len(away)} of {len(names)} zones lie outside the map and get rows of 0 ({_some([names[i] for i in away])})"
    ]


def _overlaps(path: str, names: list[str], shapes: np.ndarray, extent: Shape) -> list[str]:
    """A line where zones share pixels, which count in each."""
    import shapely

    here = np.flatnonzero(shapely.intersects(shapes, shapely.box(0, 0, extent[1], extent[0])))
    near = shapes[here]
    a, b = shapely.STRtree(near).query(near, predicate="intersects")
    a, b = a[a < b], b[a < b]
    touching = shapely.touches(near[a], near[b])
    a, b = a[~touching], b[~touching]
    shared = shapely.area(shapely.intersection(near[a], near[b])) > _ANY_OVERLAP
    if not shared.any():
        return []
    first = np.flatnonzero(shared)[0]
    pair = " and ".join(names[here[i]] for i in (a[first], b[first]))
    return [
        f"{path}: {int(shared.sum())} pairs of zones overlap ({pair}), and what they share counts in each"
    ]


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
