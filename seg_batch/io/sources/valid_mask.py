"""The validity of stored values: not nodata, not hidden by a mask, and finite."""

from __future__ import annotations

from typing import Any

import numpy as np

# The stored values that mean "nothing here", as ranges of which both ends are meant.
Nodata = tuple[tuple[Any, Any], ...]


def stored_nodata(nodata: float | int | None, dtype: np.dtype) -> Any:
    """A nodata tag as a value of ``dtype`` to compare with; None where no value can equal it.

    NaN and values that overflow to infinity give None too: they are invalid in any case.
    """
    if nodata is None or not (isinstance(nodata, int) or np.isfinite(nodata)):
        return None
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            value = dtype.type(nodata)
        return value if np.isfinite(value) else None
    limits = np.iinfo(dtype)
    fits = nodata == int(nodata) and limits.min <= nodata <= limits.max
    return dtype.type(int(nodata)) if fits else None


def exactly(nodata: float | None, dtype: np.dtype) -> Nodata:
    """A nodata tag as the one value that equals it, if any does."""
    value = stored_nodata(nodata, dtype)
    return () if value is None else ((value, value),)


def valid_mask(
    values: np.ndarray, nodata: tuple[Nodata, ...], opaque: np.ndarray | None = None
) -> np.ndarray | None:
    """bool like ``values``, ``(*shape, C)``, or None when all are valid.

    ``nodata``: per channel. ``opaque``: bool, broadcast against
    values; False where a mask or alpha hides all channels or one. Nothing is computed for
    integers without either.
    """
    is_float = values.dtype.kind == "f"
    if not is_float and opaque is None and not any(nodata):
        return None
    valid = np.isfinite(values) if is_float else np.ones_like(values, bool)
    for c, ranges in enumerate(nodata):
        for low, high in ranges:
            part = values[..., c]
            valid[..., c] &= part != low if low == high else (part < low) | (part > high)
    if opaque is not None:
        valid &= opaque
    return None if valid.all() else valid
