"""Reads of damaged inputs: the readable part of a window, and retries with backoff after I/O errors."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from seg_batch.core.errors import STUMBLES, ReadError
from seg_batch.core.geometry import Blocks, Box
from seg_batch.core.normalise import Pixels
from seg_batch.io.sources.protocol import Source

WAITS_S = (0.1, 0.4)
PATIENCE = 8  # reads that may fail one after another; then none is retried until one succeeds


# One read of a box, and the boxes of it that could not be read.
Reader = Callable[[Source, Box], tuple[Pixels, list[Box]]]


def read_strictly(source: Source, box: Box) -> tuple[Pixels, list[Box]]:
    """A ``Reader`` that raises where anything can't be read."""
    return source.read(box), []


def read_window(source: Source, window: Box) -> tuple[Pixels, list[Box]]:
    """One read of the window; where that fails, its readable part, and the boxes that can't be read."""
    try:
        return source.read(window), []
    except ReadError:
        return _salvage(source, window)


def _salvage(source: Source, window: Box) -> tuple[Pixels, list[Box]]:
    """The window chunk by chunk: unreadable chunks are invalid, and listed."""
    info = source.info
    values = np.zeros((*window.shape, len(info.channels)), info.dtype)
    valid = np.zeros(values.shape, bool)
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
        scale, offset = pixels.scale, pixels.offset
        inside = part.slices(window.start)
        values[inside] = pixels.values
        valid[inside] = True if pixels.valid is None else pixels.valid
    return Pixels(values, valid, scale, offset), holes


class RetryLimit:
    """The retries of one source; a file on a dead disk costs a few seconds for any number of chunks."""

    def __init__(self) -> None:
        self._failed = 0

    def __call__[T](self, read: Callable[[], T]) -> T:
        """The result of ``read``. After an OSError that another try may cure, it is called up to two
        times more; the last such error, and any other error at once, is raised."""
        waits = iter(WAITS_S if self._failed < PATIENCE else ())
        while True:
            try:
                result = read()
            except OSError as error:
                wait_s = next(waits, None) if error.errno in STUMBLES else None
                if wait_s is None:
                    self._failed += 1
                    raise
                time.sleep(wait_s)
            else:
                self._failed = 0
                return result
