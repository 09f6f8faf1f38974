"""The values of one channel, counted in one pass and in bounded memory, and their percentiles.

A value is counted as a float32, by its bits in an order that is that of the numbers. As long as ``most`` values or
fewer differ, each is counted by itself, so that percentiles are exact for integers of up to 16 bits. Beyond that the
last bits are dropped, one at a time: a percentile is then within ``1 / 2**10`` of itself at the very worst (values in
all powers of two that there are), and within some 1e-5 in images. These are shares of the value, not of the range: of
values far from 0 beside their spread (int32 about 2e9, a thousand apart, of which float32 has one in 128) percentiles
are as coarse as float32. The least and the greatest are kept in full. How many bits are dropped depends on the values only,
not on the pieces that they came in nor on their order: a part has no more different values than the whole.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

MOST = 1 << 18  # different values of a channel, of 12 bytes each
MOST_TOGETHER = 1 << 22  # of all channels, as long as none has to make do with fewer than
EXACT = 1 << 16  # those of an integer of 16 bits
_SIGN = np.uint32(1 << 31)
_LARGEST = float(np.finfo(np.float32).max)


def most_of(channels: int) -> int:
    """How many different values each of so many channels keeps."""
    return max(EXACT, min(MOST, MOST_TOGETHER // max(1, channels)))


class Histogram:
    """``keys``: sorted, uint32, the ordered bits of values without the last ``shift``; ``counts``: int64. ``least`` and
    ``greatest``: of the values as they came."""

    def __init__(self, most: int = MOST) -> None:
        self.keys, self.counts = np.empty(0, np.uint32), np.empty(0, np.int64)
        self.shift, self._most = 0, most
        self.least, self.greatest = np.inf, -np.inf

    def add(self, values: np.ndarray, counts: np.ndarray | None = None) -> None:
        """Count finite values of any shape and dtype, each once or as often as ``counts`` says."""
        if values.size:
            self._widen(float(values.min()), float(values.max()))
        keys = _ordered(values.ravel()) >> self.shift
        if counts is None:
            keys, counts = np.unique(keys, return_counts=True)
        self._merge(keys, counts, self.shift)

    def merge(self, other: Histogram) -> None:
        """Count the values that another histogram has counted."""
        self._widen(other.least, other.greatest)
        self._merge(other.keys, other.counts, other.shift)

    def _widen(self, least: float, greatest: float) -> None:
        self.least, self.greatest = min(self.least, least), max(self.greatest, greatest)

    def _merge(self, keys: np.ndarray, counts: np.ndarray, shift: int) -> None:
        common = max(shift, self.shift)
        self.keys, self.counts = _summed(
            np.concatenate([self.keys >> (common - self.shift), keys >> (common - shift)]),
            np.concatenate([self.counts, counts]),
        )
        self.shift = common
        while len(self.keys) > self._most:
            self.keys, self.counts = _summed(self.keys >> 1, self.counts)
            self.shift += 1

    def percentiles(self, ranks: Sequence[float]) -> list[float]:
        """As ``numpy.percentile`` has them; ``ValueError`` where nothing was counted."""
        if not len(self.keys):
            raise ValueError("nothing was counted")
        values, ends = _values(self.keys, self.shift), np.cumsum(self.counts)
        places = np.asarray(ranks, np.float64) / 100 * (ends[-1] - 1)
        first = np.floor(places).astype(np.int64)
        low, high = (
            values[np.searchsorted(ends, np.minimum(place, ends[-1] - 1), side="right")]
            for place in (first, first + 1)
        )
        between: list[float] = (low + (high - low) * (places - first)).tolist()
        return between

    def to_json(self) -> dict[str, Any]:
        return {
            "shift": self.shift,
            "ends": [self.least, self.greatest] if len(self.keys) else [],
            "keys": _packed(self.keys, "<u4"),
            "counts": _packed(self.counts, "<i8"),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Histogram:
        made = cls()
        made.shift = int(data["shift"])
        if data["ends"]:
            made._widen(*data["ends"])
        made.keys = _unpacked(data["keys"], "<u4").astype(np.uint32)
        made.counts = _unpacked(data["counts"], "<i8").astype(np.int64)
        return made


def _packed(array: np.ndarray, dtype: str) -> str:
    return base64.b64encode(zlib.compress(array.astype(dtype).tobytes(), 1)).decode()


def _unpacked(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype)


def _ordered(values: np.ndarray) -> np.ndarray:
    """uint32 in the order of the values; -0 is 0."""
    with np.errstate(over="ignore"):
        wide = np.clip(values, -_LARGEST, _LARGEST) if values.dtype.itemsize > 4 else values
        bits = (wide.astype(np.float32) + np.float32(0)).view(np.uint32)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _values(keys: np.ndarray, shift: int) -> np.ndarray:
    """float64: the value of each key, or the middle of those that have lost their last bits."""
    bits = keys << shift
    if shift:
        bits |= np.uint32(1 << (shift - 1))
    return np.where(bits & _SIGN, bits & ~_SIGN, ~bits).view(np.float32).astype(np.float64)


def _summed(keys: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each key once, in order, with the sum of its counts."""
    if not len(keys):
        return keys, counts
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return keys[starts], np.add.reduceat(counts, starts)
