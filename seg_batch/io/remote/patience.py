"""How long a remote read is tried again, and when the next try is."""

from __future__ import annotations

import os
import random
import time

SECONDS = "SEGBATCH_REMOTE_SECONDS"
_DEFAULT_S = 60.0
_FIRST_S, _MOST_S = 0.25, 10.0
_SLOWEST_BYTES_S = 32 << 10


def whole_s() -> float:
    """For how many seconds a read is tried: 60, or what the environment says."""
    try:
        seconds = float(os.environ.get(SECONDS, ""))
    except ValueError:
        return _DEFAULT_S
    return seconds if 0 < seconds < 86_400 else _DEFAULT_S


def one_try_s(size_bytes: int) -> float:
    """How long one answer may take: a sender of a byte now and then holds no worker for longer."""
    return min(whole_s(), 20 + size_bytes / _SLOWEST_BYTES_S)


class Patience:
    """The tries of one read: exponential back-off with jitter, within a limit of time."""

    def __init__(self) -> None:
        self._end = time.monotonic() + whole_s()
        self._next_s = _FIRST_S

    def wait(self, asked_s: float = 0.0) -> bool:
        """Wait before the next try, as long as the server asks for at least; False where the time is over."""
        # Jitter: workers that failed at once don't come back at once.
        wait_s = max(asked_s, random.uniform(0.5, 1.0) * self._next_s)
        if time.monotonic() + wait_s > self._end:
            return False
        time.sleep(wait_s)
        self._next_s = min(2 * self._next_s, _MOST_S)
        return True
