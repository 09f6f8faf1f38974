"""Task fusion: short items travel to a worker together, as one task.

Handing out a task costs the coordinator milliseconds. Each item still has its own end, its own
further tries and its own backup copies, and those are handed out alone.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from seg_batch.executors.task import TakenBackError, TaskResult, TaskWrapper

TASK_S = 0.25  # the least that a task should take
PATIENCE_S = 1.0  # after which a task starts no further item
MOST = 8  # items: what else an item costs is not in its expected time
REMEMBERED, FIRST = 32, 8  # ended items that predict the next one, and how many are needed


def group_size(items: int, workers: int) -> int:
    """The most items to put into one task, so that every worker still has several tasks."""
    return max(1, min(MOST, items // (8 * workers)))


class RecentDurations:
    """The expected seconds of the next item: those of the slowest of the last ``REMEMBERED``, and
    infinity before ``FIRST`` have ended."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=REMEMBERED)

    def ended(self, seconds: float) -> None:
        self._seconds.append(seconds)

    def __call__(self, item: Any) -> float:
        return max(self._seconds) if len(self._seconds) >= FIRST else math.inf


class TaskGroup:
    """The task: ``function`` for one item after another, until ``PATIENCE_S`` is over."""

    def __init__(self, function: TaskWrapper) -> None:
        self.function = function

    @property
    def func(self) -> Callable[..., Any]:
        return self.function.func

    def __call__(self, items: Sequence[Any]) -> list[TaskResult]:
        until = time.monotonic() + PATIENCE_S
        late = TaskResult("", error=TakenBackError("its task took too long"), fault="final")
        ends = [self.function(items[0])]
        ends += [self.function(i) if time.monotonic() < until else late for i in items[1:]]
        return ends


class GroupItemFuture:
    """The future of one item of a task. The task is cancelled with the last of its items."""

    def __init__(self, task: Any, index: int, wanted: set[int]) -> None:
        self.task, self._index, self._wanted = task, index, wanted
        wanted.add(index)

    @property
    def key(self) -> str:
        return str(getattr(self.task, "key", ""))

    def result(self) -> Any:
        return self.task.result()[self._index]

    def cancel(self) -> bool:
        self._wanted.discard(self._index)
        if self._wanted:
            return not (self.task.running() or self.task.done())
        return bool(self.task.cancel())


def item_futures(task: Any, number: int) -> list[GroupItemFuture]:
    """The futures of a task's ``number`` items, in their order."""
    wanted: set[int] = set()
    return [GroupItemFuture(task, index, wanted) for index in range(number)]
