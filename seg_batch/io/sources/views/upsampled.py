"""A source on the finer grid of the output of a super-resolving model.

Such a model has ``f`` output voxels per input voxel and axis. Everything between
source and sink counts output voxels, so the input is shown on that grid, each voxel repeated; the
predictor gets each voxel once again::

    file   | a | b | -Upsampled-> | a a a | b b b |   --tiler, normaliser-->   a a a b b b
    product| 0 1 2 | 3 4 5 |   <--stitcher, sink--   0 1 2 3 4 5   <--model--   a     b

Tiles start at whole voxels of the file, since extent, patch and overlap are all multiples of
``f``; mirroring at a border repeats what mirroring the file would give.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from seg_batch.core.geometry import Box, Shape
from seg_batch.core.georef import refined
from seg_batch.core.normalise import Pixels
from seg_batch.io.sources.protocol import Source, SourceInfo, known_empty, require_inside
from seg_batch.io.sources.views.oriented import Oriented


class Upsampled:
    """``source`` with ``factors`` voxels for each of its own, along its own ``(z,) y, x``.

    ``value'(v) = value(floor(v / f))``; the extent is ``f`` times the source's, in the same place.
    """

    def __init__(self, source: Source, factors: Shape) -> None:
        self._source, self._factors = source, factors
        self.info = _seen(source.info, factors)

    def read(self, box: Box) -> Pixels:
        require_inside(self.info, box)
        sides = list(zip(box.start, box.stop, self._factors, strict=True))
        start = tuple(a // f for a, _, f in sides)
        pixels = self._source.read(Box(start, tuple(-(-b // f) for _, b, f in sides)))
        inside = box.slices(tuple(a * f for a, f in zip(start, self._factors, strict=True)))
        return pixels.map(lambda array: repeated(array, self._factors)[inside])

    def known_empty(self, box: Box) -> bool:
        return known_empty(self._source, coarser(box, self._factors))

    def close(self) -> None:
        self._source.close()


def _seen(info: SourceInfo, factors: Shape) -> SourceInfo:
    extent, chunk = (
        tuple(n * f for n, f in zip(shape, factors, strict=True))
        for shape in (info.extent, info.chunk)
    )
    facts = {**info.facts, "finer": list(factors)}
    georef = refined(info.georef, factors)
    return replace(info, extent=extent, chunk=chunk, georef=georef, facts=facts)


def repeated(array: np.ndarray, factors: Shape) -> np.ndarray:
    """``array`` ``(*shape, channels)`` with each voxel repeated ``factors`` times; one allocation."""
    pairs = [n for pair in zip(array.shape, factors, strict=False) for n in pair]
    out = np.empty((*pairs, array.shape[-1]), array.dtype)
    out[...] = np.expand_dims(array, tuple(range(1, len(pairs), 2)))
    shape = (n * f for n, f in zip(array.shape, factors, strict=False))
    return out.reshape(*shape, array.shape[-1])


def upsampled(source: Source, factor: int, rank: int | None, orientation: str) -> Source:
    """The source on the grid of a model of ``rank`` spatial axes (None: all) with ``factor`` output
    voxels per input voxel; the source itself where that is one.

    A 2-D model makes the slices of a volume finer, as ``orientation`` lays them, not their number.
    """
    if factor == 1:
        return source
    factors = Box.whole(finer_by(len(source.info.extent), factor, rank))
    return Upsampled(source, Oriented(source, orientation).to_native(factors).shape)


def finer_by(axes: int, factor: int, rank: int | None) -> Shape:
    """Voxels of the output for each of the input, per axis in the axes of the model."""
    rank = rank or axes
    return (1,) * (axes - rank) + (factor,) * rank


def coarser(box: Box, factors: Shape) -> Box:
    """The voxels that ``box`` of a finer grid lies in."""
    start, stop = (zip(end, factors, strict=True) for end in (box.start, box.stop))
    return Box(tuple(a // f for a, f in start), tuple(-(-b // f) for b, f in stop))


def multiplied(box: Box, factors: Shape) -> Box:
    """The voxels of a finer grid that lie in ``box``."""
    return Box(
        *(tuple(n * f for n, f in zip(e, factors, strict=True)) for e in (box.start, box.stop))
    )


def at_finer(pixels: Pixels, coarse: Box, box: Box, factors: Shape) -> Pixels:
    """The pixels of ``box`` of a finer grid, of those of the ``coarse`` voxels that it lies in."""
    if max(factors) == 1:
        return pixels
    inside = box.slices(multiplied(coarse, factors).start)
    return pixels.map(lambda array: repeated(array, factors)[inside])
