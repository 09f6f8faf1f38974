"""The course of one run: what waits, what is in flight, what comes next. No clock, no thread, no pool:
it is told the time and what happened, and decides. ``scheduler`` acts on it, the simulation too.

    waiting -> in flight -> done
                  |  ^
                  v  |  (later, elsewhere)
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

PATIENCE = 3  # further tries after faults that may pass, unless it is told otherwise
FORGIVEN = 3  # failures of an item on workers that have not done anything yet
COPIES = 3  # of one item in flight, at most
REMEMBERED = 255  # finished items whose times count
TICK_S = 1.0
LATE = 3.0  # times the median: an item that takes so long is begun elsewhere, too
LEAST_DONE = 8  # items, before their median says anything
LEAST_S = 2.0  # that an item may always take: what is over in a moment is not worth a copy


def stragglers[K: Hashable](
    now: float, begun: Mapping[K, float], seconds: Collection[float], least_s: float = LEAST_S
) -> list[K]:
    """Keys of ``begun`` (when each was submitted) that are late, the longest in flight first.

    ``seconds``: how long finished ones were in flight. ``now`` and ``begun`` are of one clock.
    """
    if len(seconds) < LEAST_DONE or not begun:
        return []
    limit = max(least_s, LATE * statistics.median(seconds))
    return sorted((k for k, at in begun.items() if now - at > limit), key=lambda k: begun[k])


@dataclass(frozen=True, eq=False)
class Attempt:
    """One try of an item. ``which``: from 1, copies count as one; ``avoid``: workers that it should
    not go to."""

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
class _Begun:
    """An item that was begun and is not over."""

    item: Any
    in_flight: list[Attempt] = field(default_factory=list)
    failed: dict[str, int] = field(default_factory=dict)  # where, as ``Health.failed`` says
    forgiven: int = 0
    tries: int = 0  # failures that are the item's own
    again: int = 0  # further tries so far, whatever they were for
    suspect: bool = False  # a worker died with it in hand, and perhaps by it


class TaskStateMachine:
    """``workers``: the names of those that there are now; asked only after a failure. ``retries``:
    further tries after faults that nobody knows; ``most``: after faults of any kind, in all."""

    def __init__(
        self,
        items: Iterable[Any],
        health: Health,
        workers: Callable[[], Collection[str]],
        retries: int = 1,
        most: int | None = None,
        least_s: float = LEAST_S,
    ) -> None:
        self._waiting: Iterator[tuple[int, Any]] = enumerate(items)
        self._exhausted, self._closed = False, False
        self._health, self._workers, self._retries = health, workers, retries
        self._most, self._least_s = most, least_s
        self._begun: dict[int, _Begun] = {}
        self._later: list[tuple[float, int]] = []  # a heap: when, which
        self._suspects: list[tuple[float, int]] = []  # the same, of those that may kill a worker
        self._seconds: deque[float] = deque(maxlen=REMEMBERED)
        self.in_flight = 0

    @property
    def busy(self) -> bool:
        """Whether there is anything to wait for, once ``next`` has been asked."""
        return self.in_flight > 0 or bool(self._later) or bool(self._suspects)

    def wait_s(self, now: float) -> float:
        """How long nothing needs to be decided unless something ends."""
        return max(0.0, min([TICK_S, *(heap[0][0] - now for heap in self._heaps())]))

    def _heaps(self) -> list[list[tuple[float, int]]]:
        """Of what may have a further try. Suspects have theirs one at a time, so that the next worker
        that dies tells which of them it was; where one hangs, the others wait with it."""
        tried = self._suspects and any(o.suspect and o.in_flight for o in self._begun.values())
        return [heap for heap in (self._later, [] if tried else self._suspects) if heap]

    def next(self, now: float, window: int) -> Attempt | None:
        """What is to be submitted now; None when ``window`` are in flight or nothing is due."""
        if self.in_flight >= window:
            return None
        for heap in self._heaps():
            if heap[0][0] <= now:
                return self._attempt(heapq.heappop(heap)[1], now)
        for number, item in self._waiting:
            self._begun[number] = _Begun(item)
            return self._attempt(number, now)
        self._exhausted = True
        return None

    def close(self) -> None:
        """Begin nothing more, not even another try; what is in flight goes on."""
        self._waiting, self._exhausted, self._closed = iter(()), True, True
        for heap in (self._later, self._suspects):
            for _, number in heap:
                del self._begun[number]
            heap.clear()

    def take_back(self, attempt: Attempt, now: float = 0.0) -> None:
        """It was never begun, and waits again, unless nothing begins any more."""
        one = self._begun[attempt.number]
        one.in_flight.remove(attempt)
        self.in_flight -= 1
        if one.in_flight:
            return
        if self._closed:
            del self._begun[attempt.number]
        else:
            heapq.heappush(self._suspects if one.suspect else self._later, (now, attempt.number))

    def late(self, now: float, room: int) -> list[Attempt]:
        """Stragglers that are worth a copy: nothing waits, and there is room for so many."""
        if not self._exhausted or self._heaps():
            return []
        newest = {n: one.in_flight[-1] for n, one in self._begun.items() if one.in_flight}
        begun = {
            n: attempt.begun
            for n, attempt in newest.items()
            if len(self._begun[n].in_flight) < COPIES
        }
        found = stragglers(now, begun, self._seconds, self._least_s)
        return [newest[n] for n in found[: max(0, room)]]

    def copy(self, attempt: Attempt, avoid: Collection[str], now: float) -> Attempt:
        """Another attempt at the same item, beside the one in flight."""
        return self._attempt(attempt.number, now, frozenset(avoid))

    def rivals(self, attempt: Attempt) -> list[Attempt]:
        """All attempts in flight at the item, this one among them."""
        return list(self._begun[attempt.number].in_flight)

    def _attempt(self, number: int, now: float, avoid: frozenset[str] = frozenset()) -> Attempt:
        one = self._begun[number]
        which = one.again + 1
        attempt = Attempt(number, one.item, now, which, avoid | frozenset(one.failed))
        one.in_flight.append(attempt)
        self.in_flight += 1
        return attempt

    def ended(
        self, attempt: Attempt, worker: str, fault: Fault | None, now: float, error: str = ""
    ) -> AttemptEnd:
        """``fault``: None when it succeeded; ``worker``: "" when nobody knows. Only the first success
        of an item counts."""
        one = self._begun.get(attempt.number)
        if one is None or attempt not in one.in_flight:
            return AttemptEnd("ignored")
        one.in_flight.remove(attempt)
        self.in_flight -= 1
        if fault is None:
            return self._done(attempt, one, worker, now)
        wait_s = self._again_in(one, worker, fault, error)
        if fault == "full" and wait_s is None:
            return AttemptEnd("full")
        if one.in_flight:
            return AttemptEnd("ignored")  # a copy is at work: it decides
        if wait_s is None or self._closed:
            del self._begun[attempt.number]
            return AttemptEnd("failed" if wait_s is None else "ignored")
        one.again += 1
        one.suspect |= fault == "passing" and not worker
        heapq.heappush(
            self._suspects if one.suspect else self._later, (now + wait_s, attempt.number)
        )
        return AttemptEnd("again", wait_s)

    def _done(self, attempt: Attempt, one: _Begun, worker: str, now: float) -> AttemptEnd:
        self._seconds.append(now - attempt.begun)
        self.in_flight -= len(one.in_flight)
        del self._begun[attempt.number]
        hopeless = self._health.succeeded(worker, one.failed)
        return AttemptEnd("done", rivals=tuple(one.in_flight), hopeless=hopeless)

    def _again_in(self, one: _Begun, worker: str, fault: Fault, error: str) -> float | None:
        """Seconds until the next try; None: there is none."""
        if fault == "final":
            return None
        elsewhere = bool(set(self._workers()) - set(one.failed) - {worker})
        if fault == "full":  # it may be this worker's own disk, until another says the same
            again = elsewhere and not one.failed
            one.failed[worker] = self._health.failed(worker, error)
            return 0.0 if again else None
        if worker:
            one.failed[worker] = self._health.failed(worker, error)
        if self._most is not None and one.again >= self._most:
            return None
        if worker and elsewhere and one.forgiven < FORGIVEN and not self._health.proven(worker):
            one.forgiven += 1
            return 0.0
        one.tries += 1
        if fault == "unable" and not elsewhere:
            return None
        if fault == "passing":
            patience = PATIENCE if self._most is None else self._most
            return back_off_s(one.tries) if one.tries <= patience else None
        return 0.0 if one.tries <= self._retries else None
