"""The true area of each pixel of a raster: on the ellipsoid of its CRS, not in the plane of its map.

Where the plane is true to ``TRUE_PLANE`` all over the raster (equal-area maps, UTM but for the edges of its zones),
all pixels have the area of the plane, which is a round number and the one that other programs show. Else areas are
summed as whole numbers of a small unit, a power of two of a square metre that follows from the raster alone: sums
depend on no order, and so on no blocks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from seg_batch.core.geometry import Box, Shape
from seg_batch.core.georef import M2_PER_HA, Georef, RasterGeoref
from seg_batch.io.sources.areas.ellipsoid import Ellipsoid, ellipsoid_of
from seg_batch.io.sources.constant import is_constant, value_of

SAME_AREA = 1e-4  # pixels of a cell differ by no more of their area, and all get that of its middle
TRUE_PLANE = 1e-3  # by which the areas of a plane may differ from those on the ellipsoid
_BEYOND_POLE = (
    1.1 * math.pi / 2
)  # pixels may cross a pole; where they lie far beyond, these are no degrees
_FEW_PIXELS = 64  # in a cell: pixels are then added one by one
_SPREAD = 32  # pixels per axis that a mean is taken of
_BITS = 61  # of the area of the whole raster, in units
_NODES = 20  # of the area scale per radius of the body
_MOST_NODES = 512  # along an axis; all of them where some lie off the body


@dataclass(frozen=True)
class PixelAreas:
    """The areas of the pixels of a raster of ``extent``. ``origin``: where in it the boxes begin that it is
    asked for."""

    georef: RasterGeoref
    extent: Shape
    origin: Shape = (0, 0)

    @classmethod
    def of(cls, georef: Georef | None, extent: Shape, origin: Shape = (0, 0)) -> PixelAreas | None:
        """None where pixels have no area: without a CRS of the earth or another body, or a transform."""
        if not isinstance(georef, RasterGeoref) or not _has_areas(georef, extent):
            return None
        return cls(georef, tuple(extent), tuple(origin))

    def units(self, hectares: float) -> int:
        """The fewest units of an area that counts as ``hectares``; 0.3 ha are three pixels of 0.1 ha."""
        same = 1e-12 if self._field.flat else SAME_AREA
        return math.ceil(hectares * M2_PER_HA / self._field.unit * (1 - same))

    def hectares(self, units: float) -> float:
        return units * self._field.unit / M2_PER_HA

    @property
    def flat(self) -> bool:
        """Whether all pixels have the area of the plane."""
        return self._field.flat

    def mean_hectares(self, box: Box) -> float:
        """Of one pixel of a box, from some evenly spread over it."""
        box = box.shift(self.origin)
        sides = zip(box.start, box.stop, strict=True)
        middles = ((np.arange(_SPREAD) + 0.5) / _SPREAD * (b - a) + a for a, b in sides)
        return float(self._field.m2(*middles).mean()) / M2_PER_HA

    def of_pixels(self, box: Box) -> np.ndarray:
        """Units of each pixel, int64 ``box.shape``."""
        box, sides = box.shift(self.origin), self._field.cell
        places = [np.arange(a, b) // n for a, b, n in zip(box.start, box.stop, sides, strict=True)]
        cells, index = zip(*(np.unique(p, return_inverse=True) for p in places), strict=True)
        return self._of_cells(*cells)[np.ix_(*index)]

    def add(self, totals: dict[int, int], labels: np.ndarray, box: Box) -> None:
        """Add the units of each label of a box to ``totals``."""
        if math.prod(self._field.cell) < _FEW_PIXELS:
            pixels = self.of_pixels(box)
            for label in np.unique(_distinct(labels)).tolist():
                totals[label] = totals.get(label, 0) + int(pixels[labels == label].sum())
            return
        for part, units in self._cells_of(box):
            counts = np.bincount(_distinct(labels[part]))
            counts *= labels[part].size // counts.sum()
            for label in np.flatnonzero(counts).tolist():
                totals[label] = totals.get(label, 0) + int(counts[label]) * units

    def _cells_of(self, box: Box) -> list[tuple[tuple[slice, ...], int]]:
        """The part of a box that lies in each cell, counted from its start, and the units of a pixel there."""
        place, sides = box.shift(self.origin), self._field.cell
        axes = list(zip(place.start, place.stop, sides, strict=True))
        cells = [np.arange(a // n, -(-b // n)) for a, b, n in axes]
        spans = [
            [slice(max(k * n, a) - a, min((k + 1) * n, b) - a) for k in some.tolist()]
            for some, (a, b, n) in zip(cells, axes, strict=True)
        ]
        units = self._of_cells(*cells).reshape(-1).tolist()
        return list(zip(itertools.product(*spans), units, strict=True))

    def _of_cells(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Units of a pixel in the middle of each of these cells, ``(rows, columns)``."""
        field = self._field
        sides = zip((rows, columns), field.cell, self.extent, strict=True)
        middles = [(np.minimum((k + 1) * side, n) + k * side) / 2 for k, side, n in sides]
        return np.rint(field.m2(*middles) / field.unit).astype(np.int64)

    @property
    def _field(self) -> _Field:
        return _field_of(self.georef, self.extent)


def _distinct(labels: np.ndarray) -> np.ndarray:
    """The labels in one row; one for all where they are the same."""
    return value_of(labels).reshape(1) if is_constant(labels) else labels.reshape(-1)


def _has_areas(georef: RasterGeoref, extent: Shape) -> bool:
    a, b, _, d, e, f = georef.transform
    if georef.transform == RasterGeoref().transform or not a * e - b * d:
        return False
    body = ellipsoid_of(georef.crs_wkt) if georef.crs_wkt else None
    if body is None or body.radians is None:
        return body is not None
    most = max(abs(f + d * x + e * y) for x in (0, extent[1]) for y in (0, extent[0]))
    return most * body.radians <= _BEYOND_POLE


# The areas of pixels with these middles, by row and column, in square metres.
_SquareMetres = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class _Field:
    """``cell``: the pixels over which areas are the same; ``unit``: square metres; ``flat``: it is the area
    of every pixel."""

    m2: _SquareMetres
    cell: Shape
    unit: float
    flat: bool = False


@lru_cache(16)
def _field_of(georef: RasterGeoref, extent: Shape) -> _Field:
    body = ellipsoid_of(georef.crs_wkt or "")
    assert body is not None  # see ``_has_areas``
    if body.radians is not None:
        m2, nodes = _by_latitude(body, body.radians, georef, extent)
    else:
        nodes, inverse = _inverse_scale(body, georef, extent)
        plane = georef.pixel_m2
        if plane is not None and np.all(np.abs(inverse * body.unit_m**2 - 1) <= TRUE_PLANE):
            return _Field(
                lambda rows, columns: np.full((len(rows), len(columns)), plane), extent, plane, True
            )
        m2 = _by_splines(georef, nodes, inverse)
    known = m2(*nodes)
    cell = tuple(_side(known, axis, nodes[axis], n) for axis, n in enumerate(extent))
    bits = math.log2(float(known.max()) * math.prod(extent))
    return _Field(m2, cell, 2.0 ** (math.ceil(bits) + 1 - _BITS))


def _side(known: np.ndarray, axis: int, nodes: np.ndarray, n: int) -> int:
    """How many pixels along an axis differ by ``SAME_AREA`` at most, by their areas at the nodes."""
    if known.shape[axis] == 1:
        return n
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.abs(np.diff(np.log(known), axis=axis)).max() / np.diff(nodes).min()
    return int(min(max(1, SAME_AREA // change), n)) if change > 0 else 1 if change != 0 else n


def _by_latitude(
    body: Ellipsoid, radians: float, georef: RasterGeoref, extent: Shape
) -> tuple[_SquareMetres, list[np.ndarray]]:
    """Of a grid of longitudes and latitudes: pieces of zones, or where it is rotated the area around the
    middle of each pixel."""
    a, b, _, d, e, f = georef.transform

    def pieces(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        low, high = (radians * (f + e * (rows + side)) for side in (-0.5, 0.5))
        return np.repeat(abs(a) * radians * body.zone(low, high)[:, None], len(columns), 1)

    def around(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        lat = radians * (f + d * columns[None, :] + e * rows[:, None])
        return abs(a * e - b * d) * radians**2 * body.at_latitude(lat)

    rows, columns = (np.linspace(0.5, n - 0.5, min(n, 256)) for n in extent)
    return (around, [rows, columns]) if b or d else (pieces, [rows, columns[:1]])


def _by_splines(
    georef: RasterGeoref, nodes: list[np.ndarray], inverse: np.ndarray
) -> _SquareMetres:
    """Of any other grid. The inverse of the scale is what is smooth, also towards the limb of what a
    satellite sees."""
    from scipy.interpolate import RectBivariateSpline

    a, b, _, d, e, _ = georef.transform
    spline, least = RectBivariateSpline(*nodes, inverse), float(inverse.min())
    return lambda rows, columns: abs(a * e - b * d) / np.maximum(spline(rows, columns), least)


def _inverse_scale(
    body: Ellipsoid, georef: RasterGeoref, extent: Shape
) -> tuple[list[np.ndarray], np.ndarray]:
    """The nodes, rows and columns, and the inverse of the area scale there: ``Ellipsoid.scale``. Off the body
    it is that of the nearest node, or that of the plane where all are off it."""
    lengths = [n * s * body.unit_m / body.a for n, s in zip(extent, georef.spacing, strict=True)]
    counts = [int(min(_NODES * length, _MOST_NODES)) + 4 for length in lengths]
    nodes, inverse = _at_nodes(body, georef, extent, counts)
    if np.isnan(inverse).all():
        return nodes, np.full(inverse.shape, body.unit_m**-2)
    if np.isnan(inverse).any():
        nodes, inverse = _at_nodes(body, georef, extent, [_MOST_NODES] * 2)
        inverse = _filled(inverse)
    return nodes, inverse


def _at_nodes(
    body: Ellipsoid, georef: RasterGeoref, extent: Shape, counts: list[int]
) -> tuple[list[np.ndarray], np.ndarray]:
    """So many nodes per axis, with NaN off the body."""
    a, b, c, d, e, f = georef.transform
    nodes = [np.linspace(0.0, n, count) for n, count in zip(extent, counts, strict=True)]
    rows, columns = (axis.reshape(-1) for axis in np.meshgrid(*nodes, indexing="ij"))
    side = max(body.a / 6400 / body.unit_m, math.sqrt(abs(a * e - b * d)))
    scale = body.scale(a * columns + b * rows + c, d * columns + e * rows + f, side)
    with np.errstate(divide="ignore"):
        inverse = (1 / scale).reshape(counts)
    return nodes, np.where(np.isfinite(inverse), inverse, np.nan)


def _filled(values: np.ndarray) -> np.ndarray:
    """With the value of the nearest node in place of NaN."""
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(np.isnan(values), return_distances=False, return_indices=True)
    return np.asarray(values[tuple(nearest)])
