"""What of a map becomes polygons, and how: by the options of further products."""

from __future__ import annotations

import math
from dataclasses import dataclass

from seg_batch.config.card import ClassInfo
from seg_batch.core.errors import OutputError
from seg_batch.core.georef import RasterGeoref
from seg_batch.core.text import nearest
from seg_batch.io.sinks.spec import ProductSpec
from seg_batch.io.sources.areas.pixel_areas import PixelAreas
from seg_batch.io.sources.areas.pixel_size import pixel_sides_m


@dataclass(frozen=True)
class Choice:
    """``classes``: those that get polygons; ``areas``: of the pixels, None where they have none; ``least_units``: smaller polygons are left
    out; ``tolerance`` in metres, None: outlines are exact; ``metric``: the metres of a step along x and y, ``(xx, xy, yx, yy)``."""

    classes: tuple[ClassInfo, ...]
    areas: PixelAreas | None
    least_units: int
    tolerance: float | None
    metric: tuple[float, float, float, float]

    @classmethod
    def of(cls, spec: ProductSpec, name: str) -> Choice:
        """OutputError for a class that is not there, or where metres are asked for and not known."""
        refuse_unplaced(spec, name)
        areas = PixelAreas.of(spec.georef, spec.extent)
        further, metric = spec.further, _metric(spec)
        if further.simplify is not None and metric is None:
            raise OutputError(
                f"{name}: outlines can't be simplified by {further.simplify:g} m, since the size of the raster's pixels "
                "is not known without a CRS: leave out --simplify"
            )
        if further.min_area is not None and areas is None:
            raise OutputError(
                f"{name}: polygons below {further.min_area:g} m2 can't be told, since the raster's pixels have no area "
                "without a CRS: leave out --min-area"
            )
        least = 0
        if areas is not None and further.min_area:
            least = areas.units(further.min_area / 10_000)
        return cls(_classes(spec, name), areas, least, further.simplify, metric or (1, 0, 0, 1))


def _classes(spec: ProductSpec, name: str) -> tuple[ClassInfo, ...]:
    """The chosen ones, or all but the background."""
    known = [c.name for c in spec.classes]
    for chosen in spec.further.polygons:
        if chosen not in known:
            raise OutputError(
                f"{name}: the model has no class {chosen!r} that could get polygons: {nearest(chosen, known)}"
            )
    if spec.further.polygons:
        return tuple(c for c in spec.classes if c.name in spec.further.polygons)
    return tuple(c for c in spec.classes if c.id != spec.background)


def refuse_unplaced(spec: ProductSpec, name: str) -> None:
    """OutputError for a raster whose pixels no transform places: its polygons would lie anywhere."""
    georef = spec.georef
    if isinstance(georef, RasterGeoref) and (georef.gcps or georef.rpcs):
        raise OutputError(
            f"{name}: polygons have no place, since the raster is placed by control points or RPCs alone: bring it to a "
            "grid first (gdalwarp)"
        )


def _metric(spec: ProductSpec) -> tuple[float, float, float, float] | None:
    """In the middle of the raster; None where it has no CRS."""
    georef = spec.georef
    assert isinstance(georef, RasterGeoref)
    sides = pixel_sides_m(georef, spec.extent)
    if sides is None:
        return None
    a, b, _, d, e, _ = georef.transform
    angle = math.atan2(a * e - b * d, a * b + d * e)
    return sides[1], sides[0] * math.cos(angle), 0.0, sides[0] * math.sin(angle)
