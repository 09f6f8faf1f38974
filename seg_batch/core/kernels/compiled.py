"""How a function becomes machine code: float operations in the order written, none of them fused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def kernel(function: Callable[..., Any]) -> Any:
    """Compiled at its first call, and kept on disk for the next process where a folder can be written.
    It runs without the lock of Python, so that two blocks are worked on at once."""
    try:
        return numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # no folder for it: compiled in each process
        return numba.njit(nogil=True, error_model="numpy")(function)
