"""Labels drawn from features of a vector file on the grid of an image, box by box.

A feature counts in one part of the data alone: that of the held-out box with the most of it, or training where most lies
outside of all. Where it reaches into another part its pixels are ignored there, so no polygon is learnt from and scored.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.config.card import ClassInfo
from seg_batch.config.recipe.vector_labels import BY_THEMSELVES, VectorLabels
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box, Shape
from seg_batch.core.georef import RasterGeoref
from seg_batch.core.normalise import Pixels
from seg_batch.io.sources.areas.pixel_size import pixel_sides_m
from seg_batch.io.sources.identity import file_identity
from seg_batch.io.sources.protocol import SourceInfo, require_inside
from seg_batch.io.vectors.covered import Edges, around, centres, shares
from seg_batch.io.vectors.on_grid import features_on, require_place, text_of
from seg_batch.io.vectors.reading import ENDINGS, field_names

FIELDS = ("class_id", "class", "label")  # of which the first is taken where none is named
KINDS = ("Polygon", "MultiPolygon", "LineString", "MultiLineString", "Point", "MultiPoint")
_THIN = 1e-3  # pixels: half the width of a line that has none
_TRAINING = "training"
_IDS = 1 << 16  # that a label may be


@dataclass(frozen=True)
class LabelRules:
    """``VectorLabels`` with the classes that they are of: ``values``: class ids by texts of the field; ``names``: by names of
    classes; ``ids``: all that may be, None: any. ``outside``: None where no label is. ``held``: parts of the split and their boxes,
    in pixels of the image; ``left_out``: features that count in another image alone, and are ignored here, whatever ``outside`` is."""

    field: str | None
    values: tuple[tuple[str, int], ...]
    names: tuple[tuple[str, int], ...]
    ids: tuple[int, ...] | None
    all_touched: bool
    outside: int | None
    line_width_m: float | None
    held: tuple[tuple[str, Box], ...] = ()
    left_out: tuple[int, ...] = ()

    @classmethod
    def of(
        cls,
        settings: VectorLabels = BY_THEMSELVES,
        classes: Iterable[ClassInfo] | None = None,
        ignored: Iterable[float] = (),
    ) -> LabelRules:
        """``classes``: None where they are not known. ``ignored``: label values that are no class."""
        known = None if classes is None else tuple(classes)
        ids = None if known is None else (*(c.id for c in known), *(int(v) for v in ignored))
        return cls(
            settings.field,
            tuple(sorted(settings.classes.items())),
            tuple((c.name, c.id) for c in known or ()),
            ids,
            settings.all_touched,
            None if settings.outside == "ignore" else settings.outside,
            settings.line_width_m,
        )

    def class_of(self, value: Any, where: str) -> int:
        """InputError for a value that is no class."""
        text, values, names = text_of(value), dict(self.values), dict(self.names)
        found = values.get(text, names.get(text))
        if found is None and text.isdecimal() and len(text) < 6:
            found = int(text)
        if found is None or found not in (range(_IDS) if self.ids is None else self.ids):
            known = ", ".join(f"{k} {name}" for name, k in self.names) or "not named"
            raise InputError(
                f"{where}: {text[:60]!r} is no class (classes are {known}): map it to one with vector_labels.classes, "
                "or take its features out"
            )
        return found


AS_USUAL = LabelRules.of()


def is_vector(path: str | Path) -> bool:
    """Whether a label of this name is a vector file."""
    return str(path).lower().endswith(ENDINGS)


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Features in pixels: ``shapes``: polygons ``(n,)``; ``touched``: whether each holds all that it touches; ``classes``: ids."""

    shapes: np.ndarray
    touched: np.ndarray
    classes: np.ndarray
    warnings: tuple[str, ...]


class VectorLabelSource:
    """A ``Source`` of one channel: class ids on the grid of an image, not valid where there is no label."""

    def __init__(self, path: str | Path, image: SourceInfo, rules: LabelRules) -> None:
        import shapely

        if image.kind != "raster":
            raise InputError(f"{path}: vector labels are for rasters, and {image.path} is none")
        require_place(image.georef, image.path, path)
        assert isinstance(image.georef, RasterGeoref)
        identity = _identity(path)
        plain = replace(rules, held=(), left_out=())
        drawn = _drawn(str(path), image.georef, image.extent, plain, identity["mtime_ns"])
        said = {k: v for k, v in asdict(plain).items() if k not in ("held", "left_out")}
        self.info = SourceInfo(
            path=str(path),
            format="vector",
            kind="raster",
            extent=image.extent,
            channels=("label",),
            dtype="uint16",
            georef=image.georef,
            chunk=image.chunk,
            identity={**identity, "drawn": said},
            warnings=drawn.warnings,
            facts={"held_bytes": 16},
        )
        self._drawn, self._rules = drawn, rules
        self._owner = _owners(drawn.shapes, rules)
        self._tree, self._bounds = shapely.STRtree(drawn.shapes), shapely.bounds(drawn.shapes)

    @property
    def areas(self) -> np.ndarray:
        """Of each feature, in pixels of the image, ``(n,)``."""
        import shapely

        height, width = self.info.extent
        return np.asarray(
            shapely.area(shapely.clip_by_rect(self._drawn.shapes, 0, 0, width, height))
        )

    def read(self, box: Box) -> Pixels:
        import shapely

        require_inside(self.info, box)
        outside = self._rules.outside
        values = np.full(box.shape, outside or 0, np.uint16)
        valid = np.full(box.shape, outside is not None)
        part_of = self._parts(box)
        (top, left), (bottom, right) = box.start, box.stop
        for k in np.sort(self._tree.query(shapely.box(left, top, right, bottom))).tolist():
            place = around(self._bounds[k]).intersection(box)
            if not place.size:
                continue
            at = place.slices(box.start)
            covered = self._covered(k, place)
            values[at][covered] = self._drawn.classes[k]
            counts = self._owner[k] >= 0 if part_of is None else part_of[at] == self._owner[k]
            valid[at][covered] = np.broadcast_to(counts, place.shape)[covered]
        return Pixels(values[..., None], None if valid.all() else valid[..., None])

    def close(self) -> None:
        pass

    def _covered(self, k: int, place: Box) -> np.ndarray:
        edges = Edges.of(self._drawn.shapes[k : k + 1])
        return shares(edges, place) > 0 if self._drawn.touched[k] else centres(edges, place)

    def _parts(self, box: Box) -> np.ndarray | None:
        """Which part of the split each pixel lies in, as ``_owners`` numbers them; None where there is one."""
        if not self._rules.held:
            return None
        parts = np.zeros(box.shape, np.int8)
        for number, (_, held) in _numbered(self._rules):
            inside = held.intersection(box)
            if inside.size:
                parts[inside.slices(box.start)] = number
        return parts


def _numbered(rules: LabelRules) -> list[tuple[int, tuple[str, Box]]]:
    names = [_TRAINING, *sorted({part for part, _ in rules.held} - {_TRAINING})]
    return [(names.index(part), (part, box)) for part, box in rules.held]


def _owners(shapes: np.ndarray, rules: LabelRules) -> np.ndarray:
    """The part that each feature counts in, 0 for training; -1 where it counts nowhere."""
    import shapely

    parts = max((number for number, _ in _numbered(rules)), default=0) + 1
    inside = np.zeros((parts, len(shapes)))
    for number, (_, box) in _numbered(rules):
        (top, left), (bottom, right) = box.start, box.stop
        near = shapely.intersects(shapes, shapely.box(left, top, right, bottom))
        inside[number, near] += shapely.area(
            shapely.clip_by_rect(shapes[near], left, top, right, bottom)
        )
    inside[0] = shapely.area(shapes) - inside[1:].sum(0)
    owner = inside.argmax(0)
    owner[list(rules.left_out)] = -1
    return np.asarray(owner)


def _identity(path: str | Path) -> dict[str, Any]:
    try:
        return file_identity(Path(path))
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); check the path") from error


@lru_cache(4)  # tasks of one image follow one another
def _drawn(
    path: str, georef: RasterGeoref, extent: Shape, rules: LabelRules, mtime_ns: int
) -> _Drawn:
    import shapely

    field = _field(path, rules.field)
    features = features_on(path, georef, fields=(field,), kinds=KINDS)
    where = f"{path}, field {field}"
    distinct = {
        value: rules.class_of(value, where) for value in dict.fromkeys(features.values[field])
    }
    classes = np.array([distinct[value] for value in features.values[field]], np.int64)
    shapes = features.geometries
    flat = shapely.get_dimensions(shapes) < 2
    thin = rules.line_width_m is None
    shapes = shapes.copy()
    shapes[flat] = _wide(shapes[flat], georef, extent, rules.line_width_m, path)
    touched = np.where(flat, thin, rules.all_touched)
    away = ~shapely.intersects(shapes, shapely.box(0, 0, extent[1], extent[0]))
    if away.all():
        raise InputError(
            f"{path}: none of its features lies on the image: check both and their CRS"
        )
    return _Drawn(shapes, touched, classes, (*features.warnings, *_overlaps(path, shapes, classes)))


def _field(path: str, field: str | None) -> str:
    known = field_names(path)
    if field is not None and field in known:
        return field
    usual = [name for wanted in FIELDS for name in known if name.lower() == wanted]
    if field is not None or not usual:
        missing = (
            f"there is no field {field!r}" if field else "it has none of class_id, class, label"
        )
        raise InputError(
            f"{path}: {missing} (its fields: {', '.join(known[:12]) or 'none'}): name the one with the class in vector_labels.field"
        )
    return usual[0]


def _wide(
    shapes: np.ndarray, georef: RasterGeoref, extent: Shape, width_m: float | None, path: str
) -> np.ndarray:
    """Lines and points as polygons in pixels."""
    import shapely

    if width_m is None or not len(shapes):
        return np.asarray(shapely.buffer(shapes, _THIN, quad_segs=2), object)
    sides = pixel_sides_m(georef, extent)
    if sides is None:
        raise InputError(
            f"{path}: pixels of the image have no size in metres, which vector_labels.line_width_m needs: leave it out"
        )
    metres = np.array(sides[::-1])
    on_ground = shapely.transform(shapes, lambda xy: xy * metres)
    wide = shapely.buffer(on_ground, width_m / 2)
    return np.asarray(shapely.transform(wide, lambda xy: xy / metres), object)


def _overlaps(path: str, shapes: np.ndarray, classes: np.ndarray) -> list[str]:
    """A line where features of two classes share pixels."""
    import shapely

    a, b = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    other = (a < b) & (classes[a] != classes[b])
    a, b = a[other], b[other]
    shared = shapely.area(shapely.intersection(shapes[a], shapes[b])) > 0.5
    if not shared.any():
        return []
    return [
        f"{path}: {int(shared.sum())} pairs of features of two classes overlap; the later in the file counts"
    ]
