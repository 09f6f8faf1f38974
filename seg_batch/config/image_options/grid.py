"""How an image comes to the grid of a model: what a person says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from seg_batch.core.errors import PlanError

Resample = Literal["auto", "never"]
OutputGrid = Literal["native", "model"]
LEAST, MOST = 1e-3, 1e5  # of a voxel in mm, of a pixel in metres
MOST_MM = 1e3
LONGEST = 50  # times the shortest side of a voxel


def require_sizes(where: str, sizes: tuple[float, ...]) -> None:
    """PlanError unless these are sizes of voxels that images have."""
    written = ",".join(f"{size:g}" for size in sizes)[:40]
    if not 1 <= len(sizes) <= 3 or not all(LEAST <= size <= MOST for size in sizes):
        raise PlanError(
            f"{where} {written!r} is no voxel size: give one number, or one per axis, from {LEAST:g} to {MOST_MM:g} mm, "
            f"of rasters to {MOST:g} m, like 1 or 3,1,1"
        )
    if max(sizes) > LONGEST * min(sizes):
        raise PlanError(
            f"{where} {written!r} makes voxels more than {LONGEST} times as long as wide, and a model can't tell what "
            "those show: use sizes nearer to each other"
        )


@dataclass(frozen=True)
class GridOptions:
    """``resample``: ``auto`` brings an image to the grid of the card where its voxels are others, ``never`` takes them as
    they are. ``spacing``: voxel sizes instead of the card's, in mm along ``z, y, x``, of rasters in metres along ``y, x``;
    one number for all axes. ``output_grid``: the grid of the product, that of the file or that of the model."""

    resample: Resample = "auto"
    spacing: tuple[float, ...] | None = None
    output_grid: OutputGrid = "native"

    def __post_init__(self) -> None:
        if self.spacing is not None:
            require_sizes("--spacing", self.spacing)
        if self.resample == "never" and (self.spacing is not None or self.output_grid == "model"):
            other = "--output-grid model" if self.spacing is None else "--spacing"
            raise PlanError(f"--resample never and {other} contradict each other: leave out one")


AS_STORED = GridOptions(resample="never")
ON_MODEL = GridOptions(output_grid="model")
