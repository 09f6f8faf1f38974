"""Reading what can be read of a damaged input."""

from __future__ import annotations

import numpy as np

from seg_batch.errors import ReadError
from seg_batch.geometry import Blocks, Box
from seg_batch.normalise import Pixels
from seg_batch.sources.protocol import Source


def hold(source: Source, window: Box) -> tuple[Pixels, list[Box]]:
    """One read of the window; where that fails, whatever can be read of it, and where nothing can."""
    try:
        return source.read(window), []
    except ReadError:
        return _salvage(source, window)


def _salvage(source: Source, window: Box) -> tuple[Pixels, list[Box]]:
    """The window chunk by chunk: unreadable chunks are invalid, and listed."""
    info = source.info
    values: np.ndarray | None = None
    valid = np.zeros((*window.shape, len(info.channels)), bool)
    holes, scale, offset = [], None, None
    for chunk in Blocks(info.extent, info.chunk):
        part = chunk.box.intersection(window)
        if part.size == 0:
            continue
        try:
            pixels = source.read(part)
        except ReadError:
            holes.append(part)
            continue
        if values is None:
            values = np.zeros(valid.shape, pixels.values.dtype)
            scale, offset = pixels.scale, pixels.offset
        inside = part.slices(window.start)
        values[inside] = pixels.values
        valid[inside] = True if pixels.valid is None else pixels.valid
    if values is None:
        values = np.zeros(valid.shape, info.dtype)
    return Pixels(values, valid, scale, offset), holes
