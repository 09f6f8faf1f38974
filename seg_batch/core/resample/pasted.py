"""The way back from a part of an image: resampled onto the voxels of that part, which lie in a larger grid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from seg_batch.core.geometry import Box, Shape
from seg_batch.core.resample.resampler import Resampler


@dataclass(frozen=True)
class Pasted:
    """``part``: a resampling whose target begins at voxel ``start`` of a grid of extent ``target``. Voxels of that grid
    outside the part need nothing and get 0. A ``start`` at the end of the grid: the part lies outside, and all get 0."""

    part: Resampler
    start: Shape
    target: Shape

    @property
    def source(self) -> Shape:
        return self.part.source

    @property
    def place(self) -> Box:
        """The part in the grid."""
        return Box.at(self.start, self.part.target).intersection(Box.whole(self.target))

    def _inner(self, box: Box) -> Box:
        """What a box of the grid holds of the part, in voxels of the part."""
        return box.intersection(self.place).shift(tuple(-n for n in self.start))

    def needed(self, box: Box) -> Box:
        """Box of the source that a box of the grid reads; of size 0 where it lies outside the part."""
        inner = self._inner(box)
        return self.part.needed(inner) if inner.size else Box.whole((0,) * len(self.start))

    def span(self, axis: int, start: int, stop: int) -> tuple[int, int]:
        """What a span of one axis of the grid needs of the source; ``(0, 0)`` for nothing."""
        place = self.place
        first, last = max(start, place.start[axis]), min(stop, place.stop[axis])
        at = self.start[axis]
        return self.part.span(axis, first - at, last - at) if first < last else (0, 0)

    def reached(self, box: Box) -> Box:
        """Box of all voxels of the grid that read any of a box of the source; it may be empty."""
        return self.part.reached(box).shift(self.start)

    def roll(
        self, parts: Iterable[tuple[int, np.ndarray]], box: Box
    ) -> Iterator[tuple[int, np.ndarray]]:
        """As ``Resampler.roll``, with the rows of the whole box."""
        inner = self._inner(box)
        if not inner.size:
            raise ValueError(f"{box} lies outside {self.place}")
        here = inner.shift(self.start)
        row, channels = box.start[0], 0
        for first, sums in self.part.roll(parts, inner):
            first, channels = first + self.start[0], sums.shape[-1]
            if row < first:
                yield row, _zeros(first - row, box, channels)
            out = _zeros(len(sums), box, channels)
            out[:, *here.slices(box.start)[1:]] = sums
            yield first, out
            row = first + len(sums)
        if row < box.stop[0]:
            yield row, _zeros(box.stop[0] - row, box, channels)


def _zeros(rows: int, box: Box, channels: int) -> np.ndarray:
    return np.zeros((rows, *box.shape[1:], channels), np.float32)


WayBack = Resampler | Pasted
