"""Reading what can be read of a damaged input, and again what a disk or a link stumbled over."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from seg_batch.core.errors import STUMBLES, ReadError
from seg_batch.core.geometry import Blocks, Box
from seg_batch.core.normalise import Pixels
from seg_batch.io.sources.protocol import Source

WAITS_S = (0.1, 0.4)
PATIENCE = 8  # reads that may fail one after another; then nothing is waited for until one succeeds


def read_window(source: Source, window: Box) -> tuple[Pixels, list[Box]]:
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


class RetryLimit:
    """Of one source; a file whose disk is dead costs a few seconds, however many chunks it has."""

    def __init__(self) -> None:
        self._failed = 0

    def __call__[T](self, read: Callable[[], T]) -> T:
        """What ``read`` returns, the first, second or third time. Its OSError, where that says that
        another try may succeed and none did; any other at once."""
        waits = iter(WAITS_S if self._failed < PATIENCE else ())
        while True:
            try:
                found = read()
            except OSError as error:
                wait_s = next(waits, None) if error.errno in STUMBLES else None
                if wait_s is None:
                    self._failed += 1
                    raise
                time.sleep(wait_s)
            else:
                self._failed = 0
                return found
