"""What a product is to be, whatever its format."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from seg_batch.card import ClassInfo
from seg_batch.geometry import Shape
from seg_batch.georef import Georef


@dataclass(frozen=True)
class ProductSpec:
    """``extent`` in the file's own axes; ``nodata``: the label of no data (rasters) or None;
    ``tags``: provenance; ``like``: the NIfTI whose header geometry is copied."""

    extent: Shape
    dtype: str
    nodata: int | None
    classes: tuple[ClassInfo, ...]
    georef: Georef
    is_probabilities: bool = False
    tags: dict[str, str] = field(default_factory=dict)
    like: Path | None = None

    @property
    def bands(self) -> int:
        return len(self.classes) if self.is_probabilities else 1
