"""Failures and successes per worker: they tell a broken worker from an item that no worker can do.

A worker is blamed for an item that failed there and then succeeded elsewhere; a success of its own
clears it. So damaged blocks, which fail on every worker, never cost a worker.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping

HOPELESS = 3  # different items


class Health:
    """The record of a pool's workers, shared by all runs on that pool; thread-safe."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._done: Counter[str] = Counter()  # items, by worker
        self._blamed: Counter[str] = Counter()  # items that failed there and were done elsewhere
        self._errors: dict[str, str] = {}  # the last one
        self._dropped: set[str] = set()

    def proven(self, worker: str) -> bool:
        """Whether it has ever done an item."""
        return self._done[worker] > 0

    def failed(self, worker: str, error: str) -> int:
        """Note a failure; pass the returned number to ``succeeded`` when the item is done elsewhere."""
        with self._guard:
            self._errors[worker] = error
            return self._done[worker]

    def succeeded(self, worker: str, failed: Mapping[str, int] | None = None) -> dict[str, str]:
        """Note an item done. ``failed``: the workers where it failed before, with what ``failed`` returned.

        Returns the workers that have become hopeless, each once, with the reason.
        """
        with self._guard:
            self._done[worker] += 1
            del self._blamed[worker]
            for other, before in (failed or {}).items():
                if other != worker and self._done[other] == before:
                    self._blamed[other] += 1
            hopeless = {w for w, items in self._blamed.items() if items >= HOPELESS}
            hopeless -= self._dropped
            self._dropped |= hopeless
            reason = f"the last {HOPELESS} items failed there and were done elsewhere; the error: "
            return {other: reason + self._errors.get(other, "") for other in sorted(hopeless)}
