"""Which stored values the attributes of CF call missing, beside the fill value: ``missing_value``, ``valid_min``, ``valid_max``,
``valid_range``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import numpy as np

from seg_batch.io.sources.valid_mask import Nodata, stored_nodata

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_TEXT_STEPS = 16  # GDAL hands floats on as text of eight digits


def limits_of(tags: Mapping[str, str], dtype: np.dtype) -> Nodata:
    """Ranges of values that are missing; of both ends each is meant."""
    low, high = (_first(tags.get(f"valid_{end}", ""), dtype) for end in ("min", "max"))
    if len(both := list(_numbers(tags.get("valid_range", ""), dtype))) == 2:
        low, high = both
    return (
        *_missing(tags.get("missing_value", ""), dtype),
        *(() if low is None else ((_least(dtype), _next(low, dtype, up=False)),)),
        *(() if high is None else ((_next(high, dtype, up=True), _most(dtype)),)),
    )


def _missing(text: str, dtype: np.dtype) -> Iterator[tuple[float, float]]:
    for number in _numbers(text, dtype):
        if dtype.kind == "f":
            yield _float(number, dtype, -_TEXT_STEPS), _float(number, dtype, _TEXT_STEPS)
        elif (value := stored_nodata(number, dtype)) is not None:
            yield value, value


def _numbers(text: str, dtype: np.dtype) -> Iterator[float]:
    for word in _NUMBER.findall(text):
        number = (
            float(word) if dtype.kind == "f" or not re.fullmatch(r"[+-]?\d+", word) else int(word)
        )
        # ``_Unsigned``: the attribute has the bits of the stored type.
        yield number + (1 << 8 * dtype.itemsize) if dtype.kind == "u" and number < 0 else number


def _first(text: str, dtype: np.dtype) -> float | None:
    return next(_numbers(text, dtype), None)


def _float(number: float, dtype: np.dtype, steps: int) -> float:
    """So many steps of the type from a number; for double, of which 16 digits are told, few are needed."""
    with np.errstate(over="ignore"):
        value = dtype.type(number)
    return float(value + np.sign(steps) * abs(steps) * np.spacing(np.abs(value)))


def _least(dtype: np.dtype) -> float:
    return -np.inf if dtype.kind == "f" else int(np.iinfo(dtype).min)


def _most(dtype: np.dtype) -> float:
    return np.inf if dtype.kind == "f" else int(np.iinfo(dtype).max)


def _next(bound: float, dtype: np.dtype, *, up: bool) -> float:
    """The first value outside a bound."""
    if dtype.kind == "f":
        return _float(bound, dtype, _TEXT_STEPS if up else -_TEXT_STEPS)
    limits = np.iinfo(dtype)
    outside = int(np.floor(bound)) + 1 if up else int(np.ceil(bound)) - 1
    return min(max(outside, int(limits.min) - 1), int(limits.max) + 1)
