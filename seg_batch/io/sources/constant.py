"""Arrays of one value, which take no memory: views of a single element, with strides of 0.

Empty tiles, chunks and blocks are such arrays, so that most of a large empty scene costs next to nothing.
Any code may treat them like other arrays, though not write to them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from seg_batch.core.geometry import Shape


def constant(value: Any, shape: Shape) -> np.ndarray:
    """A read-only array of this shape, in the dtype of the value."""
    return np.broadcast_to(np.asarray(value), shape)


def is_constant(array: np.ndarray) -> bool:
    """Whether an array is known to hold one value; False says nothing."""
    sides = zip(array.shape, array.strides, strict=True)
    return array.size > 0 and all(n == 1 or step == 0 for n, step in sides)


def value_of(array: np.ndarray) -> Any:
    """The value of a constant array, as a scalar of its dtype."""
    return array[(0,) * array.ndim]
