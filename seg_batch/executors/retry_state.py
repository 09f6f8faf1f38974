"""The state machine of one run: which items wait, which are in flight, and which attempt comes next.

It has no clock, no thread and no pool: it gets the time and each event as arguments, and decides.
``scheduler`` acts on its decisions, and so does the simulation in the tests.

    waiting -> in flight -> done
                  |  ^
                  v  |  (later, on another worker)
                failed -> given up
"""

from __future__ import annotations

import heapq
import statistics
from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from seg_batch.executors.faults import Fault, back_off_s
from seg_batch.executors.worker_health import Health

PATIENCE = 3  # further tries after transient faults, unless ``most`` is given
FORGIVEN = 3  # failures of an item on workers that have not done anything yet
COPIES = 3  # of one item in flight, at most
REMEMBERED = 255  # finished items whose times count
TICK_S = 1.0
LATE = 3.0  # times the median: an item in flight for so long is a straggler
LEAST_DONE = 8  # items, before their median says anything
LEAST_S = 2.0  # shorter items are never stragglers: a backup copy would cost more


def stragglers[K: Hashable](
    now: float, begun: Mapping[K, float], seconds: Collection[float]
) -> list[K]:
    """The stragglers among ``begun`` (when each was submitted), the longest in flight first.

    ``seconds``: how long finished items were in flight. ``now`` and ``begun`` are of one clock.
    """
    if len(seconds) < LEAST_DONE or not begun:
        return []
    limit = max(LEAST_S, LATE * statistics.median(seconds))
    return sorted((k for k, at in begun.items() if now - at > limit), key=lambda k: begun[k])


@dataclass(frozen=True, eq=False)
class Attempt:
    """One try of an item. ``which``: from 1, backup copies count as one; ``avoid``: workers that it
    should not go to."""

    number: int
    item: Any
    begun: float
    which: int = 1
    avoid: frozenset[str] = frozenset()


@dataclass(frozen=True)
class AttemptEnd:
    """What an ended attempt means for its item: ``again`` after ``wait_s``, or that ``rivals`` are no
    longer needed."""

    what: Literal["done", "again", "failed", "full", "ignored"]
    wait_s: float = 0.0
    rivals: tuple[Attempt, ...] = ()
    hopeless: dict[str, str] = field(default_factory=dict)  # workers, and why


@dataclass
class _Progress:
    """The state of an item that was submitted and has no outcome yet."""

    item: Any
    in_flight: list[Attempt] = field(default_factory=list)
    # Worker -> what ``Health.failed`` returned.
    failed: dict[str, int] = field(default_factory=dict)
    forgiven: int = 0
    tries: int = 0  # failures that count against the item
    again: int = 0  # further tries so far, for whatever reason
    suspect: bool = False  # a worker died while it had this item, perhaps because of it


class TaskStateMachine:
    """``workers``: returns the names of the workers there are now; called only after a failure.
    ``retries``: further tries after faults of unknown kind; ``most``: further tries in all."""

    def __init__(
        self,
        items: Iterable[Any],
        health: Health,
        workers: Callable[[], Collection[str]],
        retries: int = 1,
        most: int | None = None,
    ) -> None:
        self._waiting: Iterator[tuple[int, Any]] = enumerate(items)
        self._exhausted, self._closed = False, False
        self._health, self._workers = health, workers
        self._retries, self._most = retries, most
        self._unfinished: dict[int, _Progress] = {}
        self._later: list[tuple[float, int]] = []  # a heap: when, which
        self._suspects: list[tuple[float, int]] = []  # the same, of crash suspects
        self._seconds: deque[float] = deque(maxlen=REMEMBERED)
        self.in_flight = 0

    @property
    def busy(self) -> bool:
        """Whether there is anything to wait for, once ``next`` has been called."""
        return self.in_flight > 0 or bool(self._later) or bool(self._suspects)

    def wait_s(self, now: float) -> float:
        """Seconds in which there is nothing to decide unless an attempt ends."""
        return max(0.0, min([TICK_S, *(heap[0][0] - now for heap in self._heaps())]))

    def _heaps(self) -> list[list[tuple[float, int]]]:
        """The heaps of items that may be retried. Crash suspects are retried one at a time, so that
        the next worker that dies identifies the culprit; while one hangs, the others wait."""
        trying = self._suspects and any(
            p.suspect and p.in_flight for p in self._unfinished.values()
        )
        return [heap for heap in (self._later, [] if trying else self._suspects) if heap]

    def next(self, now: float, window: int) -> Attempt | None:
        """The attempt to submit now; None when ``window`` are in flight or nothing is due."""
        if self.in_flight >= window:
            return None
        for heap in self._heaps():
            if heap[0][0] <= now:
                return self._attempt(heapq.heappop(heap)[1], now)
        for number, item in self._waiting:
            self._unfinished[number] = _Progress(item)
            return self._attempt(number, now)
        self._exhausted = True
        return None

    def close(self) -> None:
        """Start nothing more, not even another try; what is in flight goes on."""
        self._waiting, self._exhausted, self._closed = iter(()), True, True
        for heap in (self._later, self._suspects):
            for _, number in heap:
                del self._unfinished[number]
            heap.clear()

    def take_back(self, attempt: Attempt, now: float = 0.0) -> None:
        """The attempt was cancelled before it started: its item waits again, unless this is closed."""
        item = self._unfinished[attempt.number]
        item.in_flight.remove(attempt)
        self.in_flight -= 1
        if item.in_flight:
            return
        if self._closed:
            del self._unfinished[attempt.number]
        else:
            self._retry_at(now, attempt.number)

    def _retry_at(self, when: float, number: int) -> None:
        suspect = self._unfinished[number].suspect
        heapq.heappush(self._suspects if suspect else self._later, (when, number))

    def late(self, now: float, room: int) -> list[Attempt]:
        """Stragglers for speculative execution: when nothing waits, and at most ``room`` of them."""
        if not self._exhausted or self._heaps():
            return []
        newest = {
            number: item.in_flight[-1]
            for number, item in self._unfinished.items()
            if 0 < len(item.in_flight) < COPIES
        }
        begun = {number: attempt.begun for number, attempt in newest.items()}
        return [newest[number] for number in stragglers(now, begun, self._seconds)[: max(0, room)]]

    def copy(self, attempt: Attempt, avoid: Collection[str], now: float) -> Attempt:
        """A backup copy: another attempt at the same item, beside the one in flight."""
        return self._attempt(attempt.number, now, frozenset(avoid))

    def rivals(self, attempt: Attempt) -> list[Attempt]:
        """All attempts in flight at the item, this one included."""
        return list(self._unfinished[attempt.number].in_flight)

    def _attempt(self, number: int, now: float, avoid: frozenset[str] = frozenset()) -> Attempt:
        item = self._unfinished[number]
        attempt = Attempt(number, item.item, now, item.again + 1, avoid | frozenset(item.failed))
        item.in_flight.append(attempt)
        self.in_flight += 1
        return attempt

    def ended(
        self, attempt: Attempt, worker: str, fault: Fault | None, now: float, error: str = ""
    ) -> AttemptEnd:
        """``fault``: None after a success; ``worker``: "" where it is unknown. Only the first success
        of an item counts."""
        item = self._unfinished.get(attempt.number)
        if item is None or attempt not in item.in_flight:
            return AttemptEnd("ignored")
        item.in_flight.remove(attempt)
        self.in_flight -= 1
        if fault is None:
            return self._done(attempt, item, worker, now)
        wait_s = self._retry_in_s(item, worker, fault, error)
        if fault == "full" and wait_s is None:
            return AttemptEnd("full")
        if item.in_flight:
            return AttemptEnd("ignored")  # a backup copy is running: it decides
        if wait_s is None or self._closed:
            del self._unfinished[attempt.number]
            return AttemptEnd("failed" if wait_s is None else "ignored")
        item.again += 1
        item.suspect |= fault == "passing" and not worker
        self._retry_at(now + wait_s, attempt.number)
        return AttemptEnd("again", wait_s)

    def _done(self, attempt: Attempt, item: _Progress, worker: str, now: float) -> AttemptEnd:
        self._seconds.append(now - attempt.begun)
        self.in_flight -= len(item.in_flight)
        del self._unfinished[attempt.number]
        hopeless = self._health.succeeded(worker, item.failed)
        return AttemptEnd("done", rivals=tuple(item.in_flight), hopeless=hopeless)

    def _retry_in_s(self, item: _Progress, worker: str, fault: Fault, error: str) -> float | None:
        """Seconds until the next try; None: there is none."""
        if fault == "final":
            return None
        elsewhere = bool(set(self._workers()) - set(item.failed) - {worker})
        # It may be this worker's own disk, until another worker reports the same.
        if fault == "full":
            first = not item.failed
            item.failed[worker] = self._health.failed(worker, error)
            return 0.0 if elsewhere and first else None
        if worker:
            item.failed[worker] = self._health.failed(worker, error)
        if self._most is not None and item.again >= self._most:
            return None
        if worker and elsewhere and item.forgiven < FORGIVEN and not self._health.proven(worker):
            item.forgiven += 1
            return 0.0
        item.tries += 1
        if fault == "unable" and not elsewhere:
            return None
        if fault == "passing":
            patience = PATIENCE if self._most is None else self._most
            return back_off_s(item.tries) if item.tries <= patience else None
        return 0.0 if item.tries <= self._retries else None
