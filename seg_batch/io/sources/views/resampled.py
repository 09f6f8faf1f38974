"""A source on the grid of a model: each box is made of the voxels around it, whatever the box."""

from __future__ import annotations

from dataclasses import replace

from seg_batch.core.geometry import Box
from seg_batch.core.georef import refined
from seg_batch.core.normalise import Pixels
from seg_batch.io.sources.protocol import Source, SourceInfo, require_inside
from seg_batch.io.sources.views.model_grid import ModelGrid

_LOST = ("overviews", "block_bytes")  # facts of stored voxels


class Resampled:
    """``source`` on a ``ModelGrid``. Values are float32 in stored units; a voxel is valid where half of its weight is
    (``core.resample``)."""

    def __init__(self, source: Source, grid: ModelGrid) -> None:
        self._source, self.grid = source, grid
        self.info = _seen(source.info, grid)

    def read(self, box: Box) -> Pixels:
        require_inside(self.info, box)
        window = self.grid.values.needed(box)
        return on_grid(self._source.read(window), self.grid, window, box)

    def close(self) -> None:
        self._source.close()


def on_grid(pixels: Pixels, grid: ModelGrid, window: Box, box: Box) -> Pixels:
    """The pixels of ``box`` of the grid, of those that the image has in ``window``."""
    values, valid = grid.values(pixels.values, pixels.valid, window, box)
    return Pixels(values, valid, pixels.scale, pixels.offset)


def _seen(info: SourceInfo, grid: ModelGrid) -> SourceInfo:
    axes = list(zip(grid.source, grid.target, info.chunk, strict=True))
    return replace(
        info,
        extent=grid.target,
        chunk=tuple(min(m, max(1, round(c * m / n))) for n, m, c in axes),
        dtype="float32",
        georef=refined(info.georef, tuple(m / n for n, m, _ in axes)),
        facts={key: value for key, value in info.facts.items() if key not in _LOST},
        resampled_from=info.extent,
    )
