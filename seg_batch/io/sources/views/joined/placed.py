"""A source on the grid of another whose pixels have another size; each box is made of the pixels around it alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from seg_batch.core.geometry import Box
from seg_batch.core.normalise import Pixels
from seg_batch.core.resample.placed import PlacedResampler
from seg_batch.io.sources.protocol import Source, SourceInfo, require_inside
from seg_batch.io.sources.views.joined.lattice import OneGrid, placings_on
from seg_batch.io.sources.views.resampled import in_parts

_LOST = ("overviews", "block", "layout", "tile_bytes")  # facts of pixels as they are stored


class Placed:
    """``read`` gives float32 in stored units; a pixel is valid where half of its weight is, and invalid beyond the file."""

    def __init__(self, source: Source, lattice: SourceInfo, want: OneGrid) -> None:
        """``InputError`` where the file has no place on the grid of ``lattice``."""
        self._source = source
        info, placings = source.info, placings_on(lattice, source.info)
        rules = tuple(want.up if parts >= step else want.down for step, _, parts in placings)
        self._resampler = PlacedResampler(info.extent, lattice.extent, rules, placings)
        self.info = _on_lattice(info, lattice)

    @property
    def covers(self) -> bool:
        """Whether the file has pixels everywhere."""
        return self._resampler.inside == Box.whole(self.info.extent)

    def read(self, box: Box) -> Pixels:
        require_inside(self.info, box)
        inner = box.intersection(self._resampler.inside)
        if inner == box:
            return in_parts(box, self._bytes, self._read)
        info = self.info
        shape = (*box.shape, len(info.channels))
        values, valid = np.zeros(shape, np.float32), np.zeros(shape, bool)
        if inner.size:
            at, part = inner.slices(box.start), in_parts(inner, self._bytes, self._read)
            values[at] = part.values
            valid[at] = True if part.valid is None else part.valid
        return Pixels(values, valid, info.scale, info.offset)

    def _bytes(self, box: Box) -> int:
        each = self._source.info.voxel_bytes + 4 * len(self.info.channels)
        return self._resampler.needed(box).size * each

    def _read(self, box: Box) -> Pixels:
        window = self._resampler.needed(box)
        pixels = self._source.read(window)
        values, valid = self._resampler(pixels.values, pixels.valid, window, box)
        return Pixels(values, valid, self.info.scale, self.info.offset)

    def close(self) -> None:
        self._source.close()


def _on_lattice(info: SourceInfo, lattice: SourceInfo) -> SourceInfo:
    """What is known of a file, on another grid."""
    facts = {key: value for key, value in info.facts.items() if key not in _LOST}
    return replace(
        info,
        extent=lattice.extent,
        chunk=lattice.chunk,
        dtype="float32",
        georef=lattice.georef,
        facts=facts,
    )
