"""A source on the grid of a model: each box is made of the voxels around it, whatever the box."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from seg_batch.core.geometry import Box
from seg_batch.core.georef import refined
from seg_batch.core.normalise import Pixels
from seg_batch.io.sources.protocol import Source, SourceInfo, known_empty, require_inside
from seg_batch.io.sources.views.before_grid.normalised import Normalised
from seg_batch.io.sources.views.model_grid import ModelGrid

PART_BYTES = 64 << 20
_LOST = ("overviews", "block_bytes")  # facts of stored voxels


class Resampled:
    """``source`` on a ``ModelGrid``. Values are float32 in stored units; a voxel is valid where half of its weight is
    (``core.resample``)."""

    def __init__(self, source: Source, grid: ModelGrid) -> None:
        self._source, self.grid = source, grid
        self.info = seen_on(source.info, grid)

    def read(self, box: Box) -> Pixels:
        require_inside(self.info, box)
        return in_parts(box, self._bytes, self._read)

    def _bytes(self, box: Box) -> int:
        each = self._source.info.voxel_bytes + 4 * len(self.info.channels)
        return self.grid.values.needed(box).size * each

    def _read(self, box: Box) -> Pixels:
        window = self.grid.values.needed(box)
        return on_grid(self._source.read(window), self.grid, window, box)

    def known_empty(self, box: Box) -> bool:
        return known_empty(self._source, self.grid.values.needed(box))

    def close(self) -> None:
        self._source.close()


def in_parts(box: Box, size: Callable[[Box], int], read: Callable[[Box], Pixels]) -> Pixels:
    """The pixels of a box, read in parts of which each holds about ``PART_BYTES`` at most, by ``size``: what a coarse
    grid is made of may be much more than itself."""
    if size(box) <= PART_BYTES or box.size == 1:
        return read(box)
    axis = max(range(len(box.shape)), key=box.shape.__getitem__)
    middle = box.start[axis] + box.shape[axis] // 2
    ends = (*box.stop[:axis], middle, *box.stop[axis + 1 :])
    starts = (*box.start[:axis], middle, *box.start[axis + 1 :])
    first, second = (in_parts(b, size, read) for b in (Box(box.start, ends), Box(starts, box.stop)))
    values = np.concatenate([first.values, second.values], axis)
    if first.valid is None and second.valid is None:
        return Pixels(values, None, first.scale, first.offset)
    masks = (np.ones(p.values.shape, bool) if p.valid is None else p.valid for p in (first, second))
    return Pixels(values, np.concatenate([*masks], axis), first.scale, first.offset)


def on_grid(
    pixels: Pixels, grid: ModelGrid, window: Box, box: Box, first: Normalised | None = None
) -> Pixels:
    """The pixels of ``box`` of the grid, of those that the image has in ``window``; ``first``: what is done to these
    before."""
    if not grid.resampled:
        return pixels[box.slices(window.start)]
    if first is not None:
        pixels = first.before(pixels)
    values, valid = grid.values(pixels.values, pixels.valid, window, box)
    if first is not None:
        first.limit(values, valid, grid, box)
    return Pixels(values, valid, pixels.scale, pixels.offset)


def seen_on(info: SourceInfo, grid: ModelGrid) -> SourceInfo:
    """What is known of an image, on another grid."""
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
