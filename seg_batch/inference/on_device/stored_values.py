"""Stored values as a device takes them: in C order, of one shape, with the numbers that normalise them there."""

from __future__ import annotations

import numpy as np

from seg_batch.core.geometry import Shape
from seg_batch.core.normalise import Normaliser, Pixels


def stored(
    pixels: Pixels, normaliser: Normaliser, shape: Shape
) -> tuple[np.ndarray, np.ndarray | None, list[np.ndarray]]:
    """Values, validity and numbers of pixels for ``DevicePrograms.upload``, filled up to ``shape``. What float32 does not hold, or a
    rule of its own normalises, is normalised here."""
    numbers = affine(normaliser, pixels)
    if numbers is None:
        return _filled_up(normaliser(pixels).astype(np.float32), shape), None, []
    valid = None if pixels.valid is None else _filled_up(pixels.valid, shape)
    return _filled_up(pixels.values, shape), valid, numbers


def _filled_up(values: np.ndarray, shape: Shape) -> np.ndarray:
    """In C order and this machine's byte order; zeros behind the ends."""
    if values.shape[:-1] == shape:
        return np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    out = np.zeros((*shape, values.shape[-1]), values.dtype.newbyteorder("="))
    out[tuple(map(slice, values.shape))] = values
    return out


def affine(normaliser: Normaliser, pixels: Pixels) -> list[np.ndarray] | None:
    """The numbers of a normaliser for stored values, float32 ``(C,)`` each: gain and shift, after scale, offset, low
    and high where it clips. None where they do not say all."""
    stored = pixels.values.dtype
    if type(normaliser) is not Normaliser or normaliser.identity or stored.kind not in "iuf":
        return None
    if np.result_type(stored, np.float32) != np.float32:
        return None
    mean, std = np.array(normaliser.mean), np.array(normaliser.std)
    gain, shift = 1 / std, -mean / std
    scale = np.array(pixels.scale or (1.0,) * len(mean))
    offset = np.array(pixels.offset or (0.0,) * len(mean))
    if normaliser.low is None or normaliser.high is None:
        numbers = [scale * gain, offset * gain + shift]
    else:
        low = [-np.inf if limit is None else limit for limit in normaliser.low]
        high = [np.inf if limit is None else limit for limit in normaliser.high]
        numbers = [scale, offset, low, high, gain, shift]
    return [np.asarray(each, np.float32) for each in numbers]
