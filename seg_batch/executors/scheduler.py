"""One scheduler for all pools: a bounded number of futures in flight, in the order of the items.

What becomes of an item that fails, or of a worker on which nothing works, is decided by ``TaskStateMachine``.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import ClusterError, DiskFullError, RefusedError
from seg_batch.core.units import plain_s, whole_s
from seg_batch.executors.faults import fault_of
from seg_batch.executors.pool import Outcome, Pool
from seg_batch.executors.retry_state import TICK_S, Attempt, TaskStateMachine
from seg_batch.executors.task import TakenBackError, TaskResult, TaskWrapper
from seg_batch.executors.task_grouping import TASK_S, RecentDurations, TaskGroup, item_futures


class RetryCallback:
    """Hears of the further tries of an item: that there will be one ``wait_s`` after attempt
    ``which``, and that ``which`` is handed out. This one does not listen."""

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

    It must be harmless to do an item twice, even at once: stragglers are begun elsewhere too, and
    the first result counts. Faults that may pass are tried again after 1, 4 and 16 s, refusals never,
    others ``retries`` times; elsewhere, where there is another worker. ``most``: further tries of an
    item in all; as many then if the fault may pass. A worker on which nothing works is sent away. Once
    ``stop`` is set nothing is begun: what a worker has begun is waited for, the rest is taken back, and
    items without an outcome are left undone. Several items that take little are one task of a worker,
    ``together`` at most; ``seconds``: what each is expected to take, else as those that ended lately.
    What a task has not begun when it took too long is handed out anew. ``callback`` is told of troubles
    of workers.

    Raises ClusterError when the pool dies, and DiskFullError when there is no space (for two workers,
    where there are several: one may have a disk of its own). What is done is on disk.
    """
    course = TaskStateMachine(items, pool.health, pool.workers_now, retries, most)
    stop, callback, tries = (
        stop or threading.Event(),
        callback or Callback(),
        tries or RetryCallback(),
    )
    run = _Bounded(pool, function, course, stop, callback, tries, seconds, together)
    yield from run.outcomes()


class _Bounded:
    """A course, carried out on a pool."""

    def __init__(
        self,
        pool: Pool,
        function: Callable[..., Any],
        course: TaskStateMachine,
        stop: threading.Event,
        callback: Callback,
        tries: RetryCallback,
        seconds: Callable[[Any], float] | None,
        together: int,
    ) -> None:
        self._pool, self._course, self._stop = pool, course, stop
        self._recent = RecentDurations()
        self._seconds, self._together = seconds or self._recent, 1 if pool.inline else together
        self._callback, self._tries, self._stopped = callback, tries, False
        self._function = TaskWrapper(function)
        self._ended: queue.SimpleQueue[Attempt] = queue.SimpleQueue()
        self._futures: dict[Attempt, Any] = {}
        self._left: Counter[int] = Counter()  # id of a task in flight -> its items without an end

    def outcomes(self) -> Iterator[Outcome]:
        try:
            self._begin_more()
            while self._course.busy:
                outcome = self._next_end()
                self._begin_more()
                if outcome is not None:
                    yield outcome
        finally:  # whoever leaves early wants none of the rest done
            for future in self._futures.values():
                future.cancel()

    def _begin_more(self) -> None:
        if self._stop.is_set() and not self._stopped:
            self._stopped = True
            self._course.close()
            self._take_back()
        group: list[Attempt] = []
        while attempt := self._next(bool(group)):
            if attempt.which > 1:
                self._tries.begun(attempt.item, attempt.which)
            alone = self._together == 1 or attempt.which > 1
            if alone:
                self._submit([attempt])
            else:
                group.append(attempt)
            long = sum(self._seconds(one.item) for one in group) >= TASK_S
            if group and (alone or long or len(group) >= self._together):
                self._submit(group)
                group = []
        if group:
            self._submit(group)

    def _next(self, begun: bool) -> Attempt | None:
        """What is due, while there is room for its task; it may go into one that is ``begun``."""
        room = begun or self._room() > 0
        return self._course.next(time.monotonic(), sys.maxsize if room else 0)

    def _room(self) -> int:
        """For how many more tasks."""
        return self._pool.window - len(self._left)

    def _take_back(self) -> None:
        free = set(map(id, self._pool.take_back(list(self._futures.values()))))
        for attempt in [one for one, future in self._futures.items() if id(future) in free]:
            self._forget(attempt)
            self._course.take_back(attempt)

    def _submit(self, attempts: list[Attempt]) -> None:
        first = attempts[0]
        if len(attempts) == 1:
            task = self._pool.submit(self._function, first.item, avoid=first.avoid)
            futures = [task]
        else:
            task = self._pool.submit(TaskGroup(self._function), tuple(one.item for one in attempts))
            futures = item_futures(task, len(attempts))
        self._left[id(task)] = len(attempts)
        for attempt, future in zip(attempts, futures, strict=True):
            self._futures[attempt] = future
        task.add_done_callback(partial(self._task_ended, attempts))

    def _task_ended(self, attempts: list[Attempt], _: Any) -> None:
        for attempt in attempts:
            self._ended.put(attempt)

    def _forget(self, attempt: Attempt) -> Any:
        """Its future, which is waited for no longer; None when it was not."""
        future = self._futures.pop(attempt, None)
        if future is not None:
            task = id(getattr(future, "task", future))
            self._left[task] -= 1
            if not self._left[task]:
                del self._left[task]
        return future

    def _next_end(self) -> Outcome | None:
        try:
            wait_s = self._course.wait_s(time.monotonic()) if self._room() > 0 else TICK_S
            attempt = self._ended.get(timeout=wait_s)
        except queue.Empty:
            self._require_alive()
            self._copy_late()
            return None
        future = self._forget(attempt)
        if future is None:
            return None
        carried = _carried(future)
        if isinstance(carried.error, TakenBackError):
            self._course.take_back(attempt, time.monotonic())
            return None
        return self._take(attempt, carried)

    def _take(self, attempt: Attempt, carried: TaskResult) -> Outcome | None:
        error, worker = carried.error, carried.worker
        if error is None:
            self._recent.ended(carried.seconds)
        text = "" if error is None else f"{type(error).__name__}: {error}"
        end = self._course.ended(attempt, worker, carried.fault, time.monotonic(), text)
        for rival in end.rivals:
            self._forget(rival).cancel()
        for other, why in end.hopeless.items():
            self._pool.retire(other, why)
            self._tell("dropped", other, why)
        if end.what == "again":
            self._require_alive()
            why = f"{_name(attempt.item)}: {text}; again in {plain_s(end.wait_s)}"
            worker = self._tell("retried", worker or _lost_on(error), why)
            if error is not None:
                self._tries.retried(attempt.item, attempt.which, error, end.wait_s, worker)
        if end.what == "full":
            raise _full(error)
        if end.what in ("done", "failed"):
            worker = self._pool.known_as(worker or _lost_on(error))
            error = None if carried.result is not None else error
            which, fault = attempt.which, carried.fault
            return Outcome(attempt.item, carried.result, error, worker, which, fault)
        return None

    def _copy_late(self) -> None:
        """Begin stragglers elsewhere, too: those that a worker has, and that another could do."""
        now = time.monotonic()
        found = self._course.late(now, self._room())
        placed = self._pool.placed() if found else {}
        for attempt in found:
            futures = [self._futures[rival] for rival in self._course.rivals(attempt)]
            at = [placed.get(getattr(future, "key", ""), "") for future in futures]
            if not all(at) or not set(self._pool.workers_now()) - set(at):
                continue
            self._submit([self._course.copy(attempt, at, now)])
            seconds = now - attempt.begun
            why = f"{_name(attempt.item)}: {whole_s(seconds)}, begun elsewhere too"
            self._tell("straggler", at[-1], why)

    def _tell(self, kind: str, worker: str, why: str) -> str:
        """Returns what people call the worker."""
        known = self._pool.known_as(worker)
        self._callback.on(events.WorkerTrouble(kind, known, why))
        return known

    def _require_alive(self) -> None:
        if not self._pool.alive():
            raise ClusterError(
                "the Dask scheduler or all its workers are gone: start them and run the same "
                "command again to resume"
            )


def _name(item: Any) -> str:
    """What people call a block (``name``), an input (``key``), or anything else."""
    return str(getattr(item, "name", None) or getattr(item, "key", None) or item)[:200]


def _carried(future: Any) -> TaskResult:
    """Of a future that is done. One whose worker was lost, or that was taken back, has no end."""
    try:
        return future.result()  # type: ignore[no-any-return]
    except Exception as error:
        return TaskResult("", error=error, fault=fault_of(error))


def _lost_on(error: BaseException | None) -> str:
    """The last of several workers that died with an item in hand; nobody can say that it was its fault."""
    return str(getattr(getattr(error, "last_worker", None), "address", ""))


def _full(error: BaseException | None) -> RefusedError:
    if isinstance(error, DiskFullError):
        return error
    return DiskFullError(
        f"a disk is full ({error}), so every item would fail: free some space and run the same "
        "command again to resume"
    )
