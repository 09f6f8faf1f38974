"""The sizes of classes in each zone of a map: a table as CSV.

Zones are counted one by one in squares of the map, of which one is in memory. The squares are the same for every product, so
no sum depends on how it is stored.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.core.geometry import Blocks, Box
from seg_batch.io.sinks.product import Counter
from seg_batch.io.sinks.spec import ProductSpec, Read, read_ahead
from seg_batch.io.sinks.tables.text import write_checked
from seg_batch.io.sources.areas.pixel_areas import PixelAreas
from seg_batch.io.vectors.covered import Edges, around, centres, shares
from seg_batch.io.vectors.zones import ALL, Zones

HEAD = ("zone", "class_id", "name", "voxels", "ha", "share")
SIDE = 1024  # of a square, in pixels


@dataclass(eq=False)
class Tally:
    """``voxels``: of each zone and class, ``(zones, classes)``, whole numbers unless pixels count by their shares;
    ``units``: their area in those of ``areas``."""

    zones: Zones
    areas: PixelAreas | None
    fractional: bool
    voxels: np.ndarray
    units: list[dict[int, float]]

    @classmethod
    def of(cls, zones: Zones, spec: ProductSpec) -> Tally:
        areas = PixelAreas.of(spec.georef, spec.extent)
        shape, fractional = (len(zones.names), len(spec.classes)), spec.further.fractional
        voxels = np.zeros(shape, np.float64 if fractional else np.int64)
        return cls(zones, areas, fractional, voxels, [{} for _ in zones.names])

    def add(self, zone: int, edges: Edges, which: np.ndarray, box: Box) -> None:
        """``which``: the index of the class of each pixel of a box; their number where it has none."""
        n = self.voxels.shape[1]
        areas = None if self.areas is None or self.areas.flat else self.areas
        if not self.fractional:
            inside = np.where(centres(edges, box), which, n)
            self.voxels[zone] += np.bincount(inside.reshape(-1), minlength=n + 1)[:n]
            if areas is not None:
                areas.add(self.units[zone], inside, box)  # type: ignore[arg-type]
            return
        share, of = shares(edges, box).reshape(-1), which.reshape(-1)
        self.voxels[zone] += np.bincount(of, share, n + 1)[:n]
        if areas is not None:
            sums = np.bincount(of, share * areas.of_pixels(box).reshape(-1), n + 1)
            for k in np.flatnonzero(sums[:n]).tolist():
                self.units[zone][k] = self.units[zone].get(k, 0) + float(sums[k])

    def hectares(self, zone: int, k: int) -> float | None:
        if self.areas is None:
            return None
        units = self.voxels[zone, k] if self.areas.flat else self.units[zone].get(k, 0)
        return float(self.areas.hectares(units))


def write_zone_sizes(part: Path, spec: ProductSpec, read: Read) -> None:
    """A row per class of the card for the whole map, then for each zone."""
    zones = Zones.of(spec.further, spec.georef, spec.extent, "the map")
    counter, tally = Counter(read, PixelAreas.of(spec.georef, spec.extent)), Tally.of(zones, spec)
    count(spec, counter, tally)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEAD)
    whole, hectares = [counter.counts.get(c.id, 0) for c in spec.classes], counter.hectares
    ha = [None if hectares is None else hectares.get(c.id, 0.0) for c in spec.classes]
    writer.writerows(_rows(ALL, spec, whole, ha))
    for z, name in enumerate(zones.names):
        ha = [tally.hectares(z, k) for k in range(len(spec.classes))]
        writer.writerows(_rows(name, spec, tally.voxels[z].tolist(), ha))
    write_checked(part, text.getvalue())


def _rows(
    zone: str, spec: ProductSpec, voxels: Sequence[float], hectares: list[float | None]
) -> list[list[Any]]:
    total = sum(voxels)
    return [
        [
            *(zone, c.id, c.name, n if isinstance(n, int) else _number(n)),
            "" if ha is None else _number(ha),
            _number(n / total if total else 0.0),
        ]
        for c, n, ha in zip(spec.classes, voxels, hectares, strict=True)
    ]


def _number(value: float) -> str:
    return f"{value:.10g}"


def count(spec: ProductSpec, read: Read, tally: Tally) -> None:
    """One pass over the map, square by square; each zone where it may lie."""
    import shapely

    index = np.full(1 << 16, len(spec.classes), np.int64)
    index[[c.id for c in spec.classes]] = range(len(spec.classes))
    shapes = tally.zones.shapes
    tree, bounds = shapely.STRtree(shapes), shapely.bounds(shapes)
    squares = [block.box for block in Blocks(spec.extent, (SIDE, SIDE))]
    edges: dict[int, Edges] = {}
    for box, labels in read_ahead(read, squares):
        (top, left), (bottom, right) = box.start, box.stop
        near = np.sort(tree.query(shapely.box(left, top, right, bottom))).tolist()
        edges = {z: edges.get(z) or Edges.of(shapes[z : z + 1]) for z in near}
        which = index[labels] if near else labels
        if not near or which.min() == len(spec.classes):
            continue
        for z in near:
            part = around(bounds[z]).intersection(box)
            if part.size:
                tally.add(z, edges[z], which[part.slices(box.start)], part)
