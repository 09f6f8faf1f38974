"""One scheduler for all pools: a bounded number of tasks in flight, in the order of the items.

``retry_state`` decides what happens to an item that fails and to a worker on which nothing succeeds.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import ClusterError, DiskFullError
from seg_batch.core.units import plain_s, whole_s
from seg_batch.executors.faults import fault_of
from seg_batch.executors.pool import Outcome, Pool
from seg_batch.executors.retry_state import TICK_S, Attempt, TaskStateMachine
from seg_batch.executors.task import TakenBackError, TaskResult, TaskWrapper
from seg_batch.executors.task_grouping import TASK_S, RecentDurations, TaskGroup, item_futures


class RetryCallback:
    """Callback for the further tries of an item: attempt ``which`` failed and is repeated after
    ``wait_s``; attempt ``which`` is handed out. This class does nothing."""

    def retried(
        self, item: Any, which: int, error: BaseException, wait_s: float, worker: str
    ) -> None: ...

    def begun(self, item: Any, which: int) -> Any: ...


def run_bounded(
    pool: Pool,
    function: Callable[..., Any],
    items: Iterable[Any],
    *,
    retries: int = 1,
    most: int | None = None,
    stop: threading.Event | None = None,
    callback: Callback | None = None,
    tries: RetryCallback | None = None,
    seconds: Callable[[Any], float] | None = None,
    together: int = 1,
) -> Iterator[Outcome]:
    """``function(item)`` for every item, at most ``pool.window`` tasks at once, in order of completion.

    ``function`` must be idempotent, even when it runs twice at once: stragglers get a backup copy on
    another worker (speculative execution), and the first result counts.

    Retries: after transient faults in 1, 4 and 16 s, never after refusals, ``retries`` times after
    others; on another worker where there is one. ``most``: the further tries of an item in all, and
    of a transient fault too. A worker on which nothing succeeds is sent away.

    ``stop``: once it is set, nothing is started: what a worker has started is waited for, the rest is
    cancelled, and items without an outcome are left undone.

    ``together``: the most short items in one task of a worker. ``seconds``: the expected seconds of
    an item; by default those of the items that ended lately. What a task has not started when it
    took too long is handed out again. ``callback`` gets the troubles of workers.

    Raises ClusterError when the pool dies, and DiskFullError when there is no space (on two workers,
    where there are several: one may have a disk of its own). What is done is on disk.
    """
    course = TaskStateMachine(items, pool.health, pool.workers_now, retries, most)
    stop, callback, tries = (
        stop or threading.Event(),
        callback or Callback(),
        tries or RetryCallback(),
    )
    together = 1 if pool.inline else together
    yield from _Run(
        pool, TaskWrapper(function), course, stop, callback, tries, seconds, together
    ).outcomes()


@dataclass
class _Run:
    """Carries out the decisions of a ``TaskStateMachine`` on a pool."""

    pool: Pool
    function: TaskWrapper
    course: TaskStateMachine
    stop: threading.Event
    callback: Callback
    tries: RetryCallback
    seconds: Callable[[Any], float] | None
    together: int

    def __post_init__(self) -> None:
        self._recent, self._stopped = RecentDurations(), False
        self._ended: queue.SimpleQueue[Attempt] = queue.SimpleQueue()
        self._futures: dict[Attempt, Any] = {}
        self._unended = Counter[int]()  # id of a task in flight -> its items without an end

    def outcomes(self) -> Iterator[Outcome]:
        try:
            self._submit_more()
            while self.course.busy:
                outcome = self._next_end()
                self._submit_more()
                if outcome is not None:
                    yield outcome
        finally:  # of a caller that leaves early
            for future in self._futures.values():
                future.cancel()

    def _submit_more(self) -> None:
        if self.stop.is_set() and not self._stopped:
            self._stopped = True
            self.course.close()
            self._cancel_unstarted()
        expected_s = self.seconds or self._recent
        group: list[Attempt] = []
        while attempt := self._next(bool(group)):
            if attempt.which > 1:
                self.tries.begun(attempt.item, attempt.which)
            alone = self.together == 1 or attempt.which > 1
            if alone:
                self._submit([attempt])
            else:
                group.append(attempt)
            long = sum(expected_s(member.item) for member in group) >= TASK_S
            if group and (alone or long or len(group) >= self.together):
                self._submit(group)
                group = []
        if group:
            self._submit(group)

    def _next(self, grouping: bool) -> Attempt | None:
        """The attempt that is due, if there is room for its task or it may join the current group."""
        room = grouping or self._room() > 0
        return self.course.next(time.monotonic(), sys.maxsize if room else 0)

    def _room(self) -> int:
        """How many more tasks may be in flight."""
        return self.pool.window - len(self._unended)

    def _cancel_unstarted(self) -> None:
        cancelled = set(map(id, self.pool.take_back(list(self._futures.values()))))
        for attempt in [a for a, future in self._futures.items() if id(future) in cancelled]:
            self._forget(attempt)
            self.course.take_back(attempt)

    def _submit(self, attempts: list[Attempt]) -> None:
        first, items = attempts[0], tuple(attempt.item for attempt in attempts)
        if len(items) == 1:
            task = self.pool.submit(self.function, first.item, avoid=first.avoid)
            futures = [task]
        else:
            task = self.pool.submit(TaskGroup(self.function), items)
            futures = item_futures(task, len(items))
        self._unended[id(task)] = len(items)
        for attempt, future in zip(attempts, futures, strict=True):
            self._futures[attempt] = future
            task.add_done_callback(lambda _, ended=attempt: self._ended.put(ended))

    def _forget(self, attempt: Attempt) -> Any:
        """Stop waiting for its future, and return it; None when nothing waited for it."""
        future = self._futures.pop(attempt, None)
        if future is not None:
            task = id(getattr(future, "task", future))
            self._unended[task] -= 1
            if not self._unended[task]:
                del self._unended[task]
        return future

    def _next_end(self) -> Outcome | None:
        try:
            wait_s = self.course.wait_s(time.monotonic()) if self._room() > 0 else TICK_S
            attempt = self._ended.get(timeout=wait_s)
        except queue.Empty:
            self._require_alive()
            self._back_up_stragglers()
            return None
        future = self._forget(attempt)
        if future is None:
            return None
        try:
            carried = future.result()
        except Exception as error:  # of Dask, where the worker was lost or the task cancelled
            carried = TaskResult("", error=error, fault=fault_of(error))
        if isinstance(carried.error, TakenBackError):
            self.course.take_back(attempt, time.monotonic())
            return None
        return self._take(attempt, carried)

    def _take(self, attempt: Attempt, carried: TaskResult) -> Outcome | None:
        error, worker = carried.error, carried.worker
        if error is None:
            self._recent.ended(carried.seconds)
        text = "" if error is None else f"{type(error).__name__}: {error}"
        end = self.course.ended(attempt, worker, carried.fault, time.monotonic(), text)
        # The last of several workers that died while they had the item, if that is known.
        if not worker:
            worker = str(getattr(getattr(error, "last_worker", None), "address", ""))
        for rival in end.rivals:
            self._forget(rival).cancel()
        for other, reason in end.hopeless.items():
            self.pool.retire(other, reason)
            self._report("dropped", other, reason)
        if end.what == "again":
            self._require_alive()
            reason = f"{_name(attempt.item)}: {text}; again in {plain_s(end.wait_s)}"
            worker = self._report("retried", worker, reason)
            if error is not None:
                self.tries.retried(attempt.item, attempt.which, error, end.wait_s, worker)
        if end.what == "full":
            if isinstance(error, DiskFullError):
                raise error
            raise DiskFullError(
                f"a disk is full ({error}), so every item would fail: free some space and run the same "
                "command again to resume"
            )
        if end.what in ("done", "failed"):
            error = None if carried.result is not None else error
            known, which = self.pool.known_as(worker), attempt.which
            return Outcome(attempt.item, carried.result, error, known, which, carried.fault)
        return None

    def _back_up_stragglers(self) -> None:
        """Speculative execution: submit a copy of each straggler that a worker has and another could do."""
        now = time.monotonic()
        stragglers = self.course.late(now, self._room())
        placed = self.pool.placed() if stragglers else {}
        for attempt in stragglers:
            futures = [self._futures[rival] for rival in self.course.rivals(attempt)]
            at = [placed.get(getattr(future, "key", ""), "") for future in futures]
            if not all(at) or not set(self.pool.workers_now()) - set(at):
                continue
            self._submit([self.course.copy(attempt, at, now)])
            seconds = now - attempt.begun
            reason = f"{_name(attempt.item)}: {whole_s(seconds)}, begun elsewhere too"
            self._report("straggler", at[-1], reason)

    def _report(self, kind: str, worker: str, reason: str) -> str:
        """Returns the worker's name for people."""
        known = self.pool.known_as(worker)
        self.callback.on(events.WorkerTrouble(kind, known, reason))
        return known

    def _require_alive(self) -> None:
        if not self.pool.alive():
            raise ClusterError(
                "the Dask scheduler or all its workers are gone: start them and run the same "
                "command again to resume"
            )


def _name(item: Any) -> str:
    """A block's ``name``, an input's ``key``, or the text of any other item."""
    return str(getattr(item, "name", None) or getattr(item, "key", None) or item)[:200]
