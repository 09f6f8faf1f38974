"""The part of an image that a model sees: the smallest box with all that is not 0."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from seg_batch.core.geometry import Box
from seg_batch.core.georef import shifted
from seg_batch.core.normalise import Pixels
from seg_batch.io.sources.iterate import piece_boxes
from seg_batch.io.sources.protocol import Source, known_empty, require_inside
from seg_batch.io.sources.views.model_grid import ModelGrid

# A box in the axes of the model, of size 0 where all is 0; ``find``: by one pass over the image; None: it is not cropped.
Crop = Box | Literal["find"] | None


def nonzero_box(source: Source) -> Box:
    """The smallest box that holds every voxel of which a valid channel is not 0, from one pass in pieces; of size 0 where
    there is none."""
    extent = source.info.extent
    start, stop = np.array(extent), np.zeros(len(extent), int)
    for box in piece_boxes(source.info):
        seen = source.read(box).nonzero()
        for axis in range(len(extent)):
            others = tuple(k for k in range(len(extent)) if k != axis)
            where = np.flatnonzero(seen.any(others))
            if not where.size:
                break
            start[axis] = min(start[axis], box.start[axis] + where[0])
            stop[axis] = max(stop[axis], box.start[axis] + where[-1] + 1)
    if (start >= stop).any():
        return Box.whole((0,) * len(extent))
    return Box(tuple(start.tolist()), tuple(stop.tolist()))


def cropped(source: Source, grid: ModelGrid) -> Source:
    """What of an image lies on a grid; the image itself where all does."""
    whole = grid.part == Box.whole(source.info.extent)
    return source if whole else Cropped(source, grid.part)


class Cropped:
    """A box of a source, as an image of its own."""

    def __init__(self, source: Source, box: Box) -> None:
        require_inside(source.info, box)
        self._source, self._start = source, box.start
        info = source.info
        self.info = replace(
            info,
            extent=box.shape,
            chunk=tuple(map(min, info.chunk, box.shape)),
            georef=shifted(info.georef, box.start),
        )

    def read(self, box: Box) -> Pixels:
        require_inside(self.info, box)
        return self._source.read(box.shift(self._start))

    def known_empty(self, box: Box) -> bool:
        return known_empty(self._source, box.shift(self._start))

    def close(self) -> None:
        self._source.close()
