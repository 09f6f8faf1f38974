"""The validity of stored values: not nodata, not hidden by a mask, and finite."""

from __future__ import annotations

from typing import Any

import numpy as np


def stored_nodata(nodata: float | None, dtype: np.dtype) -> Any:
    """A nodata tag as a value of ``dtype`` to compare with; None where no value can equal it.

    NaN and values that overflow to infinity give None too: they are invalid in any case.
    """
    if nodata is None or not np.isfinite(nodata):
        return None
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            value = dtype.type(nodata)
        return value if np.isfinite(value) else None
    limits = np.iinfo(dtype)
    fits = nodata == int(nodata) and limits.min <= nodata <= limits.max
    return dtype.type(int(nodata)) if fits else None


def valid_mask(
    values: np.ndarray, nodata: tuple[Any, ...], opaque: np.ndarray | None = None
) -> np.ndarray | None:
    """bool like ``values``, ``(*shape, C)``, or None when all are valid.

    ``nodata``: per channel, from :func:`stored_nodata`. ``opaque``: bool, broadcast against
    values; False where a mask or alpha hides all channels or one. Nothing is computed for
    integers without either.
    """
    is_float = values.dtype.kind == "f"
    if not is_float and opaque is None and all(value is None for value in nodata):
        return None
    valid = np.isfinite(values) if is_float else np.ones_like(values, bool)
    for c, value in enumerate(nodata):
        if value is not None:
            valid[..., c] &= values[..., c] != value
    if opaque is not None:
        valid &= opaque
    return None if valid.all() else valid
