"""What the stored numbers of a series mean: one scale and offset for all slices, or physical values slice by slice; and
which of them are padding.

``physical = stored * slope + intercept``. MONOCHROME1 says that the least value is to be shown white (PS3.3 C.7.6.3.1.2):
it is a statement of display, but writers that use it store their pixels inverted, and models learn from images that are
bright where others are. So ``stored`` becomes ``least + most - stored`` there, as GDCM and with it SimpleITK read it; by scale and offset,
so that the stored numbers stay what they are. Activity (PET) is a quantity whatever its display, and stays. Real World
Value Maps don't count: they are further readings of the numbers beside the modality's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seg_batch.io.dicom.one_series.suv import SUV, uptake
from seg_batch.io.dicom.series import PixelFormat, Series, Slice

_CHANNEL = "intensity"
_INVERTED = "MONOCHROME1: values are inverted, as SimpleITK reads them, so that larger is brighter; --scale none takes the stored numbers"
_KEPT = "MONOCHROME1: shown inverted by viewers; values are quantities, and taken as they are"
_EXACT_BITS = 24  # of integers that float32 holds exactly


@dataclass(frozen=True)
class Numbers:
    """``dtype``: of what is read. ``per_slice``: physical values, computed slice by slice in float64, with NaN for padding;
    else stored numbers, with ``nodata`` for every padding value. ``scale`` and ``offset``: of what is read. ``inverted``: larger is
    darker in the file."""

    dtype: str
    per_slice: bool
    scale: float | None
    offset: float | None
    nodata: int | None
    channel: str
    warnings: tuple[str, ...] = ()
    inverted: bool = False


def numbers_of(series: Series) -> Numbers:
    """The numbers of a series whose slices are of one kind."""
    first = series.slices[0]
    pixels, suv = first.format, uptake(series)
    inverted = pixels.photometric == "MONOCHROME1" and suv is None and not pixels.floating
    slope, intercept = _rescale(first, inverted)
    same = {(s.slope, s.intercept, _padding(s.format), _span(s.format)) for s in series.slices}
    per_slice = len(same) > 1
    factor = suv.factor if suv and suv.factor is not None else 1.0
    warnings = [suv.line] if suv else []
    if per_slice:
        slope, intercept = 1.0, 0.0
        if len({(s.slope, s.intercept) for s in series.slices}) > 1:
            warnings.append(
                "rescale differs from slice to slice: physical values are read, as float"
            )
    if pixels.photometric == "MONOCHROME1":
        warnings.append(_INVERTED if inverted else _KEPT)
    scaled = (slope * factor, intercept * factor) != (1.0, 0.0)
    padding = None if per_slice else _padding(pixels)
    return Numbers(
        dtype=_dtype(pixels, per_slice).name,
        per_slice=per_slice,
        scale=slope * factor if scaled else None,
        offset=intercept * factor if scaled else None,
        nodata=padding[0] if padding else None,
        channel=SUV if suv and suv.factor is not None else _CHANNEL,
        warnings=tuple(warnings),
        inverted=inverted,
    )


def _span(pixels: PixelFormat) -> int:
    """The sum of the least and the largest number that can be stored."""
    return -1 if pixels.signed else (1 << pixels.bits_stored) - 1


def _rescale(one: Slice, inverted: bool) -> tuple[float, float]:
    """Slope and intercept of a slice; ``inverted``: of ``least + most - stored``."""
    if not inverted:
        return one.slope, one.intercept
    return -one.slope, one.intercept + one.slope * _span(one.format)


def read_as(numbers: Numbers, one: Slice, stored: np.ndarray) -> np.ndarray:
    """The stored pixels of a slice as they are read."""
    padding = _padding(one.format)
    hidden = None
    if padding is not None and (numbers.per_slice or padding[1] != padding[2]):
        hidden = (stored >= padding[1]) & (stored <= padding[2])
    if numbers.per_slice:
        slope, intercept = _rescale(one, numbers.inverted)
        values = (stored.astype(np.float64) * slope + intercept).astype(numbers.dtype)
        if hidden is not None:
            values[hidden] = np.nan
        return values
    if hidden is not None and hidden.any():
        stored = np.where(hidden, stored.dtype.type(numbers.nodata), stored)
    return stored


def _dtype(pixels: PixelFormat, per_slice: bool) -> np.dtype:
    if pixels.floating:
        return np.dtype(f"f{pixels.bits_allocated // 8}")
    if per_slice:
        return np.dtype("f4" if pixels.bits_stored <= _EXACT_BITS else "f8")
    return np.dtype(f"{'i' if pixels.signed else 'u'}{pixels.bits_allocated // 8}")


def _padding(pixels: PixelFormat) -> tuple[int, int, int] | None:
    """The value that stands for padding, and the range that is: as stored, whatever the VR in which a header says it.
    Some write 63536 for -2000. None where the bits of a pixel hold no such number: it would mark another."""
    if pixels.padding is None or pixels.floating:
        return None
    value = _of_pixel(pixels.padding, pixels)
    limit = value if pixels.padding_limit is None else _of_pixel(pixels.padding_limit, pixels)
    least = -(1 << (pixels.bits_stored - 1)) if pixels.signed else 0
    most = least + (1 << pixels.bits_stored) - 1
    low, high = max(min(value, limit), least), min(max(value, limit), most)
    return (min(max(value, low), high), low, high) if low <= high else None


def _of_pixel(value: int, pixels: PixelFormat) -> int:
    """A number as the sign of pixels has it, where it is written with the other sign in the bits that are allocated."""
    bits = pixels.bits_allocated
    if pixels.signed and 1 << (bits - 1) <= value < 1 << bits:
        return value - (1 << bits)
    if not pixels.signed and -(1 << (bits - 1)) <= value < 0:
        return value + (1 << bits)
    return value
