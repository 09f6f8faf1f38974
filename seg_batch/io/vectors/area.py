"""The part of a raster that is wanted, as polygons in its pixel coordinates.

A pixel belongs to it where its centre does. Masks are made in cells of one fixed grid, each cut out of the polygons first, so that
a pixel's answer is the same for whatever box it is asked.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from seg_batch.core.geometry import Box, Shape
from seg_batch.io.sources.constant import constant, is_constant

CELL, SUPER = 512, 8192  # pixels; a cell is cut out of what was cut out for a larger one
_MORE = 2.0  # pixels by which a cut is larger than its cell
_KEPT = 256  # cells


@dataclass(frozen=True)
class Area:
    """``wkb``: polygons in pixels, ``x`` to the right and ``y`` down from the outer corner of the first; ``extent``: of the
    raster, ``y, x``. It is sent to workers."""

    wkb: bytes
    extent: Shape

    @classmethod
    def of(cls, geometry: Any, extent: Shape) -> Area:
        """``geometry``: of shapely, in pixels."""
        import shapely

        return cls(shapely.to_wkb(shapely.normalize(geometry)), extent)

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.wkb).hexdigest()

    def mask(self, box: Box) -> np.ndarray:
        """bool ``box.shape``: the pixels whose centres lie in it; a view of one value where all are alike."""
        parts = [(cell, _cell(self, index)) for index, cell in _cells(box)]
        if all(is_constant(part) for _, part in parts):
            values = {bool(part[0, 0]) for _, part in parts}
            if len(values) == 1:
                return constant(values.pop(), box.shape)
        out = np.empty(box.shape, bool)
        for cell, part in parts:
            both = cell.intersection(box)
            out[both.slices(box.start)] = part[both.slices(cell.start)]
        return out

    def touches(self, box: Box) -> bool:
        """Whether any pixel of the box belongs to it."""
        return any(
            _cell(self, index)[cell.intersection(box).slices(cell.start)].any()
            for index, cell in _cells(box.intersection(self._outer))
        )

    def bounds(self, box: Box) -> Box | None:
        """The smallest box with its pixels in ``box``; None where there is none."""
        start, stop = list(box.stop), list(box.start)
        for index, cell in _cells(box.intersection(self._outer)):
            both = cell.intersection(box)
            part = _cell(self, index)[both.slices(cell.start)]
            for axis in (0, 1):
                where = np.flatnonzero(part.any(1 - axis))
                if where.size:
                    start[axis] = min(start[axis], both.start[axis] + int(where[0]))
                    stop[axis] = max(stop[axis], both.start[axis] + int(where[-1]) + 1)
        return None if start[0] >= stop[0] else Box(tuple(start), tuple(stop))

    def part(self, box: Box) -> Box | None:
        """What of a block is predicted for it: its bounds there, or all where these are most of it; None: nothing."""
        bounds = self.bounds(box)
        return box if bounds is not None and 2 * bounds.size > box.size else bounds

    @cached_property
    def _outer(self) -> Box:
        """A box around all of it, inside the extent."""
        west, north, east, south = self._geometry.bounds
        around = Box((int(north) - 1, int(west) - 1), (int(south) + 2, int(east) + 2))
        return around.intersection(Box.whole(self.extent))

    @cached_property
    def _geometry(self) -> Any:
        import shapely

        return shapely.from_wkb(self.wkb)

    def __reduce__(self) -> tuple[Any, ...]:
        return Area, (self.wkb, self.extent)

    def within(self, side: int, index: Shape) -> Any:
        """The polygons around a square of the grid of this side; empty where there are none."""
        import shapely

        y, x = (i * side for i in index)
        whole = (
            self._geometry
            if side == SUPER
            else _super(self, tuple(i * side // SUPER for i in index))
        )
        ends = x - _MORE, y - _MORE, x + side + _MORE, y + side + _MORE
        return shapely.clip_by_rect(whole, *ends)


def _cells(box: Box) -> list[tuple[Shape, Box]]:
    """The cells that a box touches, by index."""
    if not box.size:
        return []
    spans = (range(a // CELL, -(-b // CELL)) for a, b in zip(box.start, box.stop, strict=True))
    return [
        (index, Box.at(tuple(i * CELL for i in index), (CELL, CELL)))
        for index in itertools.product(*spans)
    ]


@lru_cache(8)
def _super(area: Area, index: Shape) -> Any:
    return area.within(SUPER, index)


@lru_cache(_KEPT)
def _cell(area: Area, index: Shape) -> np.ndarray:
    """bool ``(CELL, CELL)``."""
    import shapely

    y, x = (i * CELL for i in index)
    shape = (CELL, CELL)
    geometry = area.within(CELL, index)
    if geometry.is_empty:
        return constant(np.False_, shape)
    if geometry.covers(shapely.box(x, y, x + CELL, y + CELL)):
        return constant(np.True_, shape)
    from rasterio.features import rasterize
    from rasterio.transform import Affine

    polygons = [g for g in shapely.get_parts(geometry) if g.geom_type.endswith("Polygon")]
    if not polygons:
        return constant(np.False_, shape)
    drawn = rasterize(polygons, shape, transform=Affine.translation(x, y), dtype="uint8")
    mask = drawn.view(bool)
    return constant(mask[0, 0], shape) if mask.all() or not mask.any() else mask
