"""Short items go to a worker together, as one task: to hand one out costs the coordinator milliseconds.

Each item still has an end, further tries and copies of its own, and those are handed out alone.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from seg_batch.executors.task import TakenBackError, TaskResult, TaskWrapper

TASK_S = 0.25  # that a task should take, at least
PATIENCE_S = 1.0  # after which a task begins no further item
MOST = 8  # items: what else an item costs is not in its expected time
REMEMBERED, FIRST = 32, 8  # ended items that say what the next one takes, and how many must


def group_size(items: int, workers: int) -> int:
    """How many of so many items may go together, so that every worker has several tasks."""
    return max(1, min(MOST, items // (8 * workers)))


class RecentDurations:
    """What the next item is expected to take: as long as the slowest of those that ended lately, and
    unknown (infinity) before the first few have. In seconds."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=REMEMBERED)

    def ended(self, seconds: float) -> None:
        self._seconds.append(seconds)

    def __call__(self, item: Any) -> float:
        return max(self._seconds) if len(self._seconds) >= FIRST else math.inf


class TaskGroup:
    """The task: ``function`` for one item after another, as long as they are as short as expected."""

    def __init__(self, function: TaskWrapper) -> None:
        self.function = function

    @property
    def func(self) -> Callable[..., Any]:
        return self.function.func

    def __call__(self, items: Sequence[Any]) -> list[TaskResult]:
        until = time.monotonic() + PATIENCE_S
        first, *others = items
        return [self.function(first), *(self._in_time(item, until) for item in others)]

    def _in_time(self, item: Any, until: float) -> TaskResult:
        if time.monotonic() < until:
            return self.function(item)
        return TaskResult("", error=TakenBackError("its task took too long"), fault="final")


class GroupItemFuture:
    """The future of one item of a task; the task is cancelled when nobody wants any of its parts."""

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
    """Of a task with so many items, in their order."""
    wanted: set[int] = set()
    return [GroupItemFuture(task, index, wanted) for index in range(number)]
