"""The memory of an input's own work, also where a process works at several inputs, or did before.

A process has one resident memory, which does not fall much when work ends. For the first input alone in a
process that is what counts, at its peak. For others, what the process held before their work counts as no more
than what they are promised for libraries and model, and of what is held meanwhile each input at work has
the share of its promise: an input is never charged with what another one took.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from seg_batch.core.hardware import peak_rss_bytes, rss_bytes
from seg_batch.inference.costs import BASE_BYTES
from seg_batch.inference.plan import Decisions

EVERY_S = 0.05  # a large array takes longer to be filled


@dataclass
class _Work:
    """An input at work in this process. ``promised``: bytes; ``before``: those of the process without what it
    took; ``peak``: its own so far; ``users``: its blocks and its coordinator that are at work."""

    promised: int
    before: int
    peak: int = 0
    users: int = 0

    @property
    def room(self) -> int:
        """The promise without libraries."""
        return max(1, self.promised - BASE_BYTES)

    def taken(self, now: int, rooms: int) -> int:
        """Its part of what a process of ``now`` bytes took, whose inputs at work have so many ``rooms``."""
        grown = max(0, now - self.before)
        return grown if rooms == self.room else min(self.room, grown * self.room // rooms)


class MemoryMeter:
    """The inputs at work in one process, by key. Its memory is looked up while there are any."""

    def __init__(self) -> None:
        self._works: dict[str, _Work] = {}
        self._lock = threading.Lock()
        self._idle = threading.Event()
        self._only: str | None = None  # the first input, as long as there is no other

    @contextmanager
    def working(self, key: str, plan: Decisions) -> Iterator[None]:
        """At work at an input, or at one of its blocks."""
        with self._lock:
            self._begin(key, plan.promised_bytes)
        try:
            yield
        finally:
            with self._lock:
                self._end(key)

    def peak_bytes(self, key: str) -> int:
        """The most that an input at work took so far; that of the process where it had no other."""
        with self._lock:
            if key == self._only:
                return peak_rss_bytes()
            self._look()
            return self._works[key].peak

    def _begin(self, key: str, promised: int) -> None:
        if not self._works:
            self._idle = threading.Event()
            threading.Thread(target=self._watch, args=(self._idle,), daemon=True).start()
        if self._only is not None and key != self._only:
            if first := self._works.get(self._only):
                first.peak = peak_rss_bytes()
            self._only = ""
        self._only = key if self._only is None else self._only
        self._look()
        work = self._works.setdefault(key, _Work(promised, rss_bytes()))
        work.users += 1

    def _end(self, key: str) -> None:
        now, rooms = self._look()
        self._works[key].users -= 1
        if self._works[key].users:
            return
        del self._works[key]
        for other in self._works.values():  # what it leaves is none of theirs
            other.before = now - other.taken(now, rooms)
        if not self._works:
            self._idle.set()

    def _watch(self, idle: threading.Event) -> None:
        while not idle.wait(EVERY_S):
            with self._lock:
                self._look()

    def _look(self) -> tuple[int, int]:
        """Note what each input takes now; returns the bytes of the process, and the rooms of all inputs."""
        now, rooms = rss_bytes(), sum(work.room for work in self._works.values())
        for work in self._works.values():
            work.peak = max(work.peak, min(work.before, BASE_BYTES) + work.taken(now, rooms))
        return now, rooms


METER = MemoryMeter()
