"""A few voxels of a large source, evenly spread, in bounded memory: for pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np

from seg_batch.core.errors import ReadError
from seg_batch.core.geometry import Blocks, Box, Shape
from seg_batch.core.normalise import Pixels
from seg_batch.io.sources.protocol import Source
from seg_batch.io.sources.tolerant_read import read_window

AT_ONCE_BYTES = 32 << 20  # of one read, which bounds the memory


def thumbnail(source: Source, box: Box, shape: Shape) -> Pixels:
    """``shape`` voxels of ``box``, each the one in the middle of its share: ``(*shape, channels)``.

    A whole raster file is read by GDAL, from its overviews where it has them; other sources, and
    damaged files, are read block by block. Unreadable voxels are invalid, never an error.
    """
    reduced = getattr(source, "reduced", None)
    if reduced is not None and box == Box.whole(source.info.extent):
        with suppress(ReadError):  # a damaged file is read block by block below
            pixels: Pixels = reduced(shape)
            return pixels
    places = [
        a + ((np.arange(m) + 0.5) * n / m).astype(np.int64)
        for a, n, m in zip(box.start, box.shape, shape, strict=True)
    ]
    # The box of one read: the whole, halved along its longest axis until it is small enough.
    side = list(box.shape)
    while math.prod(side) * source.info.voxel_bytes > AT_ONCE_BYTES and max(side) > 1:
        longest = side.index(max(side))
        side[longest] = -(-side[longest] // 2)
    return downsample(lambda part: read_window(source, part)[0], box, places, tuple(side))


def downsample(
    read: Callable[[Box], Pixels], box: Box, places: Sequence[np.ndarray], side: Shape
) -> Pixels:
    """The voxels of ``box`` at ``places``, rising along each axis, read in boxes of ``side``."""
    values = valid = None
    scaling: tuple = (None, None)
    for block in Blocks(box.shape, side):
        part = block.box.shift(box.start)
        spans = tuple(
            slice(int(np.searchsorted(at, a)), int(np.searchsorted(at, b)))
            for at, a, b in zip(places, part.start, part.stop, strict=True)
        )
        if any(span.start == span.stop for span in spans):
            continue
        pixels = read(part)
        inner = np.ix_(*(at[s] - a for at, s, a in zip(places, spans, part.start, strict=True)))
        if values is None or valid is None:
            shape = (*map(len, places), pixels.values.shape[-1])
            values, valid = np.zeros(shape, pixels.values.dtype), np.zeros(shape, bool)
            scaling = pixels.scale, pixels.offset
        values[spans] = pixels.values[inner]
        valid[spans] = True if pixels.valid is None else pixels.valid[inner]
    assert values is not None
    return Pixels(values, valid, *scaling)
