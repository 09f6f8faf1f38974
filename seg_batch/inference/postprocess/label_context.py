"""What a step has to know of its map: labels by name, and the size of a voxel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from seg_batch.config.card import ModelCard
from seg_batch.config.postprocess import AnyStep, MinSizeStep, check_chain, parse_size
from seg_batch.core.errors import PlanError
from seg_batch.core.geometry import Shape
from seg_batch.core.georef import MM3_PER_ML, Georef, VolumeGeoref
from seg_batch.io.sources.areas.pixel_areas import PixelAreas


class LeastSize(NamedTuple):
    """What an object has to have: so many voxels, and so many units of ``PixelAreas``."""

    voxels: int
    units: int = 0


@dataclass(frozen=True)
class LabelContext:
    """``ids``: the label of each class, in the order of the probabilities; ``background``: its label
    or None; ``nodata``: the label of no data, which every step leaves alone; ``unit`` and ``each``: how many
    ``ha`` or ``mL`` each voxel is (None: neither); ``areas``: of pixels that differ in theirs."""

    ids: dict[str, int]
    background: int | None
    nodata: int
    unit: str | None = None
    each: float = 0.0
    areas: PixelAreas | None = None

    @classmethod
    def of(cls, card: ModelCard, georef: Georef, extent: Shape) -> LabelContext:
        unit, each = None, 0.0
        if isinstance(georef, VolumeGeoref):
            unit, each = "mL", georef.voxel_mm3 / MM3_PER_ML
        index = card.background_index
        background = None if index is None else card.classes[index].id
        ids, areas = {c.name: c.id for c in card.classes}, PixelAreas.of(georef, extent)
        return cls(ids, background, card.nodata, unit, each, areas)

    def labels(self, names: tuple[str, ...]) -> tuple[int, ...]:
        """The labels of classes; of no names those of all classes but the background."""
        if names:
            return tuple(self.ids[name] for name in names)
        return tuple(i for i in self.ids.values() if i != self.background)

    def least(self, size: str) -> LeastSize:
        """What measures ``size`` or more; PlanError where voxels have no such unit."""
        value, unit = parse_size(size)
        if unit == "voxels":
            return LeastSize(math.ceil(value))
        if unit == "ha" and self.areas is not None:
            return LeastSize(0, self.areas.units(value))
        if unit != self.unit:
            raise PlanError(f"min_size: {size} can't be measured here: {_WHY[unit]}")
        return LeastSize(
            math.ceil(value / self.each * (1 - 1e-12))
        )  # 0.3 ha of 0.1 ha are three voxels


_WHY = {
    "ha": "hectares need a raster with a metric CRS, or one in degrees, and a transform; give the size in voxels",
    "mL": "millilitres are for volumes; give the size in voxels, or in ha where there is a CRS",
}


def require_chain_fits(chain: tuple[AnyStep, ...], card: ModelCard, context: LabelContext) -> None:
    """PlanError in one line unless the chain can be carried out on maps of this model and context."""
    try:
        check_chain(chain, [c.name for c in card.classes], background=card.background_name)
    except ValueError as error:
        raise PlanError(f"--post {error}") from None
    for step in chain:
        if isinstance(step, MinSizeStep):
            for size in filter(None, (step.size, *step.classes.values())):
                context.least(size)
