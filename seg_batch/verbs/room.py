"""What the blocks of several inputs may hold at once in one process.

A plan promises what a process needs for blocks of its own input (law 5). Where blocks of different
inputs meet in one process, each waits here until its share fits beside those that are being done.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from seg_batch.budget import BASE_BYTES
from seg_batch.executors import IN_FLIGHT
from seg_batch.plan import Plan


def share_bytes(plan: Plan) -> int:
    """What one block of the plan holds, its model included, beside what every process needs."""
    return max(0, plan.promised_bytes - BASE_BYTES) // min(IN_FLIGHT, plan.blocks)


class Room:
    """Bytes held in this process. Whoever finds it empty may enter, however much it needs: that it
    fits alone was checked when it was planned."""

    def __init__(self) -> None:
        self._held = 0
        self._changed = threading.Condition()

    @contextmanager
    def taking(self, size_bytes: int, limit_bytes: int) -> Iterator[None]:
        """Hold so many bytes, waiting until they fit within the limit."""
        with self._changed:
            self._changed.wait_for(lambda: not self._held or self._held + size_bytes <= limit_bytes)
            self._held += size_bytes
        try:
            yield
        finally:
            with self._changed:
                self._held -= size_bytes
                self._changed.notify_all()

    def for_block(self, plan: Plan) -> AbstractContextManager[None]:
        """``taking`` what a block of the plan needs, within what the plan allows a process."""
        return self.taking(share_bytes(plan), plan.memory_bytes - BASE_BYTES)


ROOM = Room()
