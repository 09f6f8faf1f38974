"""Normalisation: from stored values to physical units, then a fixed affine map per channel.

Normalisation never depends on a single patch (law 6): its parameters come from the card, or from one
pass over the source before the work (``core.statistics``). ``values -> clip -> (v - mean) / std``; where a
channel is not valid (nodata, masked, NaN, infinite) it becomes 0, which is the mean, or the least value where
values become 0 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

ROWS_VOXELS = 1 << 15  # that are normalised together
ZERO = 1e-6  # of a step of what is stored: closer to 0 is 0


@dataclass(frozen=True)
class Pixels:
    """Values read from a source, their validity, and their conversion to physical units.

    ``values``: ``(*shape, channels)`` in the file's own dtype. ``valid``: bool of the same shape,
    or None when everything is valid. ``physical = values * scale + offset``, per channel.
    """

    values: np.ndarray
    valid: np.ndarray | None = None
    scale: tuple[float, ...] | None = None
    offset: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.valid is not None and self.valid.shape != self.values.shape:
            raise ValueError(f"mask {self.valid.shape} does not match values {self.values.shape}")

    def __getitem__(self, slices: Any) -> Pixels:
        return self.map(lambda array: array[slices])

    def map(self, change: Callable[[np.ndarray], np.ndarray]) -> Pixels:
        """Values and mask in another shape or order."""
        valid = None if self.valid is None else change(self.valid)
        return Pixels(change(self.values), valid, self.scale, self.offset)

    def once(self) -> Pixels:
        """The same without repetition: of an axis along which all are views of one (``io.sources.constant``), the first."""
        arrays = [self.values] if self.valid is None else [self.values, self.valid]
        axes = range(self.values.ndim - 1)
        same = [all(array.strides[axis] == 0 for array in arrays) for axis in axes]
        if self.values.size == 0 or not any(same):
            return self
        return self[tuple(slice(0, 1) if repeats else slice(None) for repeats in same)]

    def channels(self, indices: Sequence[int]) -> Pixels:
        """These channels, in this order."""
        scale, offset = (
            None if numbers is None else tuple(numbers[i] for i in indices)
            for numbers in (self.scale, self.offset)
        )
        valid = None if self.valid is None else self.valid[..., list(indices)]
        return Pixels(self.values[..., list(indices)], valid, scale, offset)

    def only(self, seen: np.ndarray) -> Pixels:
        """Valid in these voxels alone: bool ``shape``."""
        valid = np.broadcast_to(seen[..., None], self.values.shape)
        valid = valid if self.valid is None else self.valid & valid
        return Pixels(self.values, valid, self.scale, self.offset)

    def physical(self, dtype: np.dtype | type = np.float64) -> np.ndarray:
        """Values in physical units, ``(*shape, channels)``. Unscaled integers keep their dtype when
        ``dtype`` is float64, so that large integers keep all digits."""
        if self.scale is None and self.offset is None:
            keep = np.dtype(dtype) == np.float64 and self.values.dtype.kind in "iub"
            return self.values if keep else self.values.astype(dtype)
        scale, offset = np.asarray(self.scale or 1, dtype), np.asarray(self.offset or 0, dtype)
        with np.errstate(invalid="ignore", over="ignore"):
            return self.values.astype(dtype) * scale + offset

    def nonzero(self) -> np.ndarray:
        """bool ``shape``: where any channel has a valid value other than 0, in physical units. An offset is seldom an
        exact number of steps in binary, so that 0 is what is within ``ZERO`` of a step of it."""
        out = np.zeros(self.values.shape[:-1], bool)
        for c in range(self.values.shape[-1]):
            channel = self.values[..., c]
            if self.offset is None or not self.offset[c]:
                here = channel != 0
            else:
                step = abs(self.scale[c]) if self.scale else 1.0
                channel = self.channels([c]).physical()[..., 0]
                here = np.abs(channel) > ZERO * step
            if channel.dtype.kind == "f":
                here &= np.isfinite(channel)
            out |= here if self.valid is None else here & self.valid[..., c]
        return out

    def any_valid(self) -> np.ndarray:
        """bool ``shape``: where at least one channel is valid."""
        if self.valid is None:
            return np.ones(self.values.shape[:-1], bool)
        return _over_channels(np.logical_or, self.valid)

    def with_data(self, missing: str) -> np.ndarray:
        """bool ``shape``: where no channel is missing (``missing`` is ``any``: one is enough to have no data), or
        where not ``all`` are."""
        if missing == "all" or self.valid is None:
            return self.any_valid()
        return _over_channels(np.logical_and, self.valid)


def _over_channels(rule: np.ufunc, valid: np.ndarray) -> np.ndarray:
    """``rule.reduce(valid, -1)``, channel by channel: ten times as fast where these lie apart."""
    out = valid[..., 0].copy()
    for c in range(1, valid.shape[-1]):
        rule(out, valid[..., c], out=out)
    return out


def _finite(pixels: Pixels) -> np.ndarray:
    """Physical values; 0 where they are invalid or not finite."""
    out = pixels.physical(np.float64)
    keep = np.isfinite(out) if out.dtype.kind == "f" else None
    if pixels.valid is not None:
        keep = pixels.valid if keep is None else keep & pixels.valid
    return out if keep is None else np.where(keep, out, 0)


@dataclass(frozen=True)
class Normaliser:
    """``x = (clip(physical, low, high) - mean) / std`` per channel, float32; invalid -> 0. A limit may be None: a channel
    that is not clipped.

    With empty ``mean`` and ``std``: the identity, which keeps exact physical values (float64 or the
    file's integers) for predictors that work on numbers.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    low: tuple[float | None, ...] | None = None
    high: tuple[float | None, ...] | None = None

    @classmethod
    def from_json(cls, numbers: Mapping[str, Any]) -> Normaliser:
        """From what ``dataclasses.asdict`` made, as JSON gives it back."""
        values: dict[str, Any] = {
            k: v if v is None or isinstance(v, bool) else tuple(v) for k, v in numbers.items()
        }
        return (MaskedNormaliser if "nonzero" in values else cls)(**values)

    @property
    def identity(self) -> bool:
        return not self.mean

    def dtype(self, pixels: Pixels) -> np.dtype:
        """Of what becomes of these pixels."""
        return _finite(pixels[:0]).dtype if self.identity else np.dtype(np.float32)

    def __call__(self, pixels: Pixels, out: np.ndarray | None = None) -> np.ndarray:
        """``(*shape, channels)``, all finite, in ``out`` where it is given. A few rows at a time, so that what is made
        on the way stays in the cache."""
        if self.identity:
            values = _finite(pixels)
            if out is None:
                return values
            out[...] = values
            return out
        out = np.empty(pixels.values.shape, np.float32) if out is None else out
        rows = max(1, ROWS_VOXELS // max(1, math.prod(out.shape[1:-1])))
        for first in range(0, len(out), rows):
            part = pixels[first : first + rows]
            for c in range(out.shape[-1]):
                self._channel(part, c, out[first : first + rows, ..., c])
        return out

    def _limits(self, c: int) -> tuple[float | None, float | None]:
        return (
            (None, None) if self.low is None or self.high is None else (self.low[c], self.high[c])
        )

    def _channel(self, pixels: Pixels, c: int, out: np.ndarray) -> None:
        """One channel into ``out``; scale, offset, mean and std become one product and one sum."""
        gain, shift = 1 / self.std[c], -self.mean[c] / self.std[c]
        scale = 1.0 if pixels.scale is None else pixels.scale[c]
        offset = 0.0 if pixels.offset is None else pixels.offset[c]
        values = pixels.values[..., c]
        dtype = np.result_type(values, np.float32).type  # float64 from 32-bit integers on
        values = values.astype(dtype)
        with np.errstate(invalid="ignore", over="ignore"):
            low, high = self._limits(c)
            if low is not None and high is not None:
                np.multiply(values, dtype(scale), out=values)
                np.add(values, dtype(offset), out=values)
                np.clip(values, low, high, out=values)
                scale, offset = 1.0, 0.0
            np.multiply(values, dtype(scale * gain), out=values)
            np.add(values, dtype(offset * gain + shift), out=out, casting="same_kind")
        keep = np.isfinite(out)  # a source masks NaN, but float32 may overflow here
        if pixels.valid is not None:
            keep &= pixels.valid[..., c]
        if not keep.all():
            out[~keep] = 0


@dataclass(frozen=True)
class MaskedNormaliser(Normaliser):
    """The same, but a voxel that is 0 in all channels stays 0 in all of them, or in those that ``nonzero`` says. It tells the
    two apart in JSON."""

    nonzero: bool | tuple[bool, ...] = True

    def __call__(self, pixels: Pixels, out: np.ndarray | None = None) -> np.ndarray:
        out = super().__call__(pixels, out)
        kept = ~pixels.nonzero()[..., None] & np.array(self.nonzero)
        np.copyto(out, 0, where=kept)
        return out
