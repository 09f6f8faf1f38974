"""The rows that are held while a grid is resampled from its first row to its last."""

from __future__ import annotations

import numpy as np

from seg_batch.core.resample.passes import PIECE_BYTES, Part


class RowBand:
    """Rows ``start <= row < stop`` of something that arrives row by row, as copies."""

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
        self._make_room(n, part.values.shape[1:])
        where = slice(
            self._offset + self.stop - self.start, self._offset + self.stop - self.start + n
        )
        self._values[where] = part.values[skipped:]
        self.stop += n
        if part.missing is not None:
            self._hold_missing()
            self._missing_stop = self.stop
        if self._missing.size:
            self._missing[where] = 0 if part.missing is None else part.missing[skipped:]

    def _make_room(self, n: int, shape: tuple[int, ...]) -> None:
        held = self.stop - self.start
        if self._offset + held + n <= len(self._values):
            return
        rows = held + n
        if rows > len(self._values):
            spare = PIECE_BYTES // max(1, 4 * int(np.prod(shape)))
            self._values = self._moved(self._values, np.empty((rows + spare, *shape), np.float32))
            if self._missing.size:
                self._missing = self._moved(self._missing, np.empty_like(self._values))
        else:
            for array in (self._values, self._missing):
                if array.size:
                    self._moved(array, array)
        self._offset = 0

    def _moved(self, array: np.ndarray, into: np.ndarray) -> np.ndarray:
        held = self.stop - self.start
        if held:
            into[:held] = array[self._offset : self._offset + held]
        return into

    def _hold_missing(self) -> None:
        if not self._missing.size:
            self._missing = np.zeros_like(self._values)
