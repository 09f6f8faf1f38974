"""The rows that are held while a grid is resampled from its first row to its last."""

from __future__ import annotations

import numpy as np

from seg_batch.core.resample.passes import Part

SPARE_BYTES = 1 << 20  # more than is held now, so that it need not move for each new row
APART = 1024  # values: a row begins a quarter of this after the place of the row before


class RowBand:
    """Rows ``start <= row < stop`` of something that arrives row by row, as flat copies. Long rows are
    held some bytes apart: rows whose distance is a power of two drive one another out of the caches."""

    def __init__(self, start: int) -> None:
        self.start = self.stop = start
        self._values = self._missing = np.empty((0, 0), np.float32)
        self._offset = 0  # of the first row that is held, in the buffer
        self._missing_stop = start  # no row from here on has anything missing

    @property
    def part(self) -> Part:
        where = slice(self._offset, self._offset + self.stop - self.start)
        some = self._missing_stop > self.start
        return Part(self._values[where], self._missing[where] if some else None)

    def drop(self, before: int) -> None:
        """Rows that nobody needs any more; ``before`` may lie past the last one that is held."""
        step = max(0, before - self.start)
        self._offset += min(step, self.stop - self.start)
        self.start += step
        self.stop = max(self.start, self.stop)

    def append(self, first: int, part: Part) -> None:
        """Rows that follow those held; those that were dropped before they came are left out."""
        skipped = max(0, self.start - first)
        n = len(part.values) - skipped
        if n <= 0:
            return
        size = part.values[0].size
        self._make_room(n, size if size < APART else size + (APART // 4 - size) % APART)
        end = self._offset + self.stop - self.start
        where = slice(end, end + n), slice(0, size)
        self._values[where] = part.values[skipped:].reshape(n, size)
        self.stop += n
        if part.missing is not None:
            self._hold_missing()
            self._missing_stop = self.stop
            self._missing[where] = part.missing[skipped:].reshape(n, size)
        elif self._missing.size:
            self._missing[where] = 0

    def _make_room(self, n: int, width: int) -> None:
        held = self.stop - self.start
        if self._offset + held + n <= len(self._values):
            return
        if held + n > len(self._values):
            spare = SPARE_BYTES // (4 * width)
            into = np.empty((held + n + spare, width), np.float32)
            self._values = self._moved(self._values, into)
            if self._missing.size:
                self._missing = self._moved(self._missing, np.empty_like(into))
        else:
            self._moved(self._values, self._values)
            if self._missing.size:
                self._moved(self._missing, self._missing)
        self._offset = 0

    def _moved(self, array: np.ndarray, into: np.ndarray) -> np.ndarray:
        held = self.stop - self.start
        if held:
            into[:held] = array[self._offset : self._offset + held]
        return into

    def _hold_missing(self) -> None:
        if not self._missing.size:
            self._missing = np.zeros_like(self._values)
