"""The model computes a batch in a thread of its own while the batch before it is added to the sums."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Self

import numpy as np

# The probabilities of a batch, once they are there; empty of one without patches.
Result = Callable[[], np.ndarray]
_NONE = np.empty((0,), np.float32)


class Ahead:
    """Calls of ``predict``, one after the other, in the order in which they begin. ``alone``: there is one call, which
    needs no thread."""

    def __init__(self, predict: Callable[[np.ndarray], np.ndarray], *, alone: bool) -> None:
        self._predict = predict
        self._thread = None if alone else ThreadPoolExecutor(1, "model")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)  # the call that runs is waited for

    def begin(self, patches: np.ndarray | None) -> Result:
        """``patches`` must stay as they are until the result was asked for; its errors are raised then."""
        if patches is None:
            return lambda: _NONE
        if self._thread is None:
            values = self._predict(patches)
            return lambda: values
        return self._thread.submit(copy_context().run, self._predict, patches).result
