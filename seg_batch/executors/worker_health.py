"""Who fails and who succeeds: a worker on which nothing works is told from an item that nobody can do.

A worker is blamed for an item that failed there and was then done elsewhere; a success of its own
clears it. So blocks that are damaged never cost a worker, whichever it meets.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

HOPELESS = 3  # different items


class Health:
    """What is known of the workers of one pool, by all the runs that share it; thread-safe."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._done: dict[str, int] = {}  # items, by worker
        self._blamed: dict[str, int] = {}  # items that failed there and were done elsewhere
        self._errors: dict[str, str] = {}  # the last one
        self._dropped: set[str] = set()

    def proven(self, worker: str) -> bool:
        """Whether it has ever done an item."""
        return self._done.get(worker, 0) > 0

    def failed(self, worker: str, error: str) -> int:
        """Note a failure; what it returns goes into ``succeeded`` when the item is done elsewhere."""
        with self._guard:
            self._errors[worker] = error
            return self._done.get(worker, 0)

    def succeeded(self, worker: str, failed: Mapping[str, int] | None = None) -> dict[str, str]:
        """Note an item done. ``failed``: where it had failed, with what ``failed`` returned.

        Returns the workers that nothing can be expected of any more, each once, with the reason.
        """
        with self._guard:
            self._done[worker] = self._done.get(worker, 0) + 1
            self._blamed.pop(worker, None)
            for other, before in (failed or {}).items():
                if other != worker and self._done.get(other, 0) == before:
                    self._blamed[other] = self._blamed.get(other, 0) + 1
            return {other: self._why(other) for other in self._hopeless()}

    def _hopeless(self) -> list[str]:
        found = {w for w, n in self._blamed.items() if n >= HOPELESS} - self._dropped
        self._dropped |= found
        return sorted(found)

    def _why(self, worker: str) -> str:
        error = self._errors.get(worker, "")
        return f"the last {HOPELESS} items failed there and were done elsewhere; the error: {error}"
