"""What a step has to know of its map: labels by name, and the size of a voxel."""

from __future__ import annotations

import math
from dataclasses import dataclass

from seg_batch.config.card import ModelCard
from seg_batch.config.postprocess import AnyStep, MinSizeStep, check_chain, parse_size
from seg_batch.core.errors import PlanError
from seg_batch.core.georef import M2_PER_HA, MM3_PER_ML, Georef, VolumeGeoref


@dataclass(frozen=True)
class LabelContext:
    """``ids``: the label of each class, in the order of the probabilities; ``background``: its label
    or None; ``nodata``: the label of no data, which every step leaves alone; ``unit`` and ``each``: how many
    ``ha`` or ``mL`` a voxel is (None: neither)."""

    ids: dict[str, int]
    background: int | None
    nodata: int
    unit: str | None = None
    each: float = 0.0

    @classmethod
    def of(cls, card: ModelCard, georef: Georef | None) -> LabelContext:
        unit, each = None, 0.0
        if isinstance(georef, VolumeGeoref):
            unit, each = "mL", georef.voxel_mm3 / MM3_PER_ML
        elif georef is not None and georef.crs_wkt is not None and georef.pixel_m2 is not None:
            unit, each = "ha", georef.pixel_m2 / M2_PER_HA
        index = card.background_index
        background = None if index is None else card.classes[index].id
        return cls({c.name: c.id for c in card.classes}, background, card.nodata, unit, each)

    def labels(self, names: tuple[str, ...]) -> tuple[int, ...]:
        """The labels of classes; of no names those of all classes but the background."""
        if names:
            return tuple(self.ids[name] for name in names)
        return tuple(i for i in self.ids.values() if i != self.background)

    def voxels(self, size: str) -> int:
        """The fewest voxels that measure ``size`` or more; PlanError where voxels have no such unit."""
        value, unit = parse_size(size)
        if unit == "voxels":
            return math.ceil(value)
        if unit != self.unit:
            raise PlanError(f"min_size: {size} can't be counted in voxels here: {_WHY[unit]}")
        return math.ceil(value / self.each * (1 - 1e-12))  # 0.3 ha of 0.1 ha are three voxels


_WHY = {
    "ha": "hectares need a raster with a metric CRS; give the size in voxels",
    "mL": "millilitres are for volumes; give the size in voxels, or in ha where the CRS is metric",
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
                context.voxels(size)
