"""A finished file of polygons is read back and held against the map."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seg_batch.core.geometry import Box
from seg_batch.core.georef import RasterGeoref
from seg_batch.io.sinks.polygons.choice import Choice
from seg_batch.io.sinks.polygons.records import Records
from seg_batch.io.sinks.polygons.vector_file import Driver, read_records
from seg_batch.io.sinks.spec import ProductSpec, Read, damaged, samples

_AREA = 1e-6  # by which the areas of all polygons may differ from those of their pixels: rounded coordinates
_SIDE = 128
_NONE = -1


def check_polygons(
    part: Path,
    driver: Driver,
    spec: ProductSpec,
    choice: Choice,
    records: Records,
    counts: np.ndarray,
    again: Read,
) -> None:
    """DamagedError unless ``part`` holds what was given, and that is the map: pixels per class, the area of all rings,
    and the labels at sample places, burnt back. ``counts``: pixels of each label of the map."""
    found, drawn = Found(spec, choice), choice.tolerance is None
    for ids, pixels, geometries in read_records(part, driver):
        found.add(ids, pixels, geometries, drawn)
    wrong = found.differences(records)
    if not choice.least_units:
        chosen = [c.id for c in choice.classes]
        if not np.array_equal(records.pixels[chosen], counts[chosen]):
            wrong.append("polygons have other pixels than the map")
    if drawn:
        wrong += found.misdrawn(again)
    if wrong:
        raise damaged(part, wrong)


class Found:
    """What a file holds."""

    def __init__(self, spec: ProductSpec, choice: Choice) -> None:
        import shapely
        from affine import Affine

        assert isinstance(spec.georef, RasterGeoref)
        self._choice, self._transform = choice, Affine(*spec.georef.transform)
        self._boxes = samples(spec.extent, _SIDE)
        self._tree = shapely.STRtree([_outline(self._transform, box) for box in self._boxes])
        self._burnt = [np.full(box.shape, _NONE, np.int32) for box in self._boxes]
        self._count, self._pixels = np.zeros((2, 1 << 16), np.int64)
        self._area = 0.0

    def add(self, ids: np.ndarray, pixels: np.ndarray, geometries: np.ndarray, drawn: bool) -> None:
        import shapely
        from rasterio.features import rasterize

        np.add.at(self._count, ids, 1)
        np.add.at(self._pixels, ids, pixels)
        self._area += float(shapely.area(geometries).sum()) if drawn else 0.0
        if not drawn:
            return
        which, places = self._tree.query(geometries, "intersects")
        for place in np.unique(places).tolist():
            box = self._boxes[place]
            those = which[places == place]
            shapes = zip(geometries[those], ids[those].tolist(), strict=True)
            moved = self._transform @ self._transform.translation(box.start[1], box.start[0])
            rasterize(shapes, out=self._burnt[place], transform=moved)

    def differences(self, records: Records) -> list[str]:
        wrong = []
        if not np.array_equal(self._count, records.count):
            wrong.append(f"{self._count.sum()} polygons of {records.count.sum()} are there")
        elif not np.array_equal(self._pixels, records.pixels):
            wrong.append("the pixels of polygons are others")
        return wrong

    def misdrawn(self, again: Read) -> list[str]:
        """What the rings do not show as the map has it."""
        expected = float(self._pixels.sum()) * abs(self._transform.determinant)
        if abs(self._area - expected) > _AREA * expected:
            return [f"the rings cover {self._area:g} of {expected:g} square units"]
        chosen = np.zeros(1 << 16, bool)
        chosen[[c.id for c in self._choice.classes]] = True
        for box, burnt in zip(self._boxes, self._burnt, strict=True):
            labels = again(box).astype(np.int32)
            labels[~chosen[labels]] = _NONE
            if self._choice.least_units:
                labels[burnt == _NONE] = _NONE
            if not np.array_equal(labels, burnt):
                return [f"in the box {box} the polygons are not the labels"]
        return []


def _outline(transform: object, box: Box) -> object:
    import shapely
    from affine import Affine

    assert isinstance(transform, Affine)
    (y0, x0), (y1, x1) = box.start, box.stop
    corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    return shapely.Polygon([transform @ corner for corner in corners])
