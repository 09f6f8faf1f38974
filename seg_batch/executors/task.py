"""What runs around an item in a worker: it catches the end of the item, and can be cancelled.

A task that was handed out waits in the scheduler or in a worker, and only the worker knows when it
starts. So each worker keeps its own record of started and of cancelled tasks, under one lock: an item
is started or cancelled, never both. A task of several items starts each of them, so that the rest of a
running task can be cancelled too.
"""

from __future__ import annotations

import pickle
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any

from seg_batch.core.errors import PassingError, StoppedError
from seg_batch.executors.faults import Fault, fault_of
from seg_batch.executors.pool import HERE

REMEMBERED = 1000  # tasks, of which few are still in flight
_guard = threading.Lock()
# Started tasks, the newest last. Ended ones stay, since their results may still lie here.
_started: dict[str, None] = {}
_cancelled: set[str] = set()


@dataclass(frozen=True)
class TaskResult:
    """The end of one attempt: the result, the error with its kind, or both (``Doubtful``)."""

    worker: str
    result: Any = None
    error: BaseException | None = None
    fault: Fault | None = None
    seconds: float = 0.0  # that it took, where there is no error


class TakenBackError(StoppedError):
    """The end of an item that was not started: it was cancelled, or the items before it in its task
    took too long."""


@dataclass(frozen=True)
class Doubtful:
    """What a function returns whose ``result`` another try may improve, and why. The result counts if
    no try is left."""

    result: Any
    why: str


class TaskWrapper:
    """``function``, whose end is returned as ``TaskResult``; only what ends a thread is raised.

    ``func``: that function, after which pools name a task (as with ``functools.partial``). It is
    pickled once for all tasks, since it may hold a whole plan, and unpickled once per process.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.func = getattr(function, "func", function)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial, (_call_pickled, self._pickled)  # the Dask scheduler does not unpickle it

    @cached_property
    def _pickled(self) -> bytes:
        from distributed.protocol.pickle import dumps

        return bytes(dumps(self.function))

    def __call__(self, item: Any) -> TaskResult:
        worker = this_worker()
        if not start_item(this_task()):
            return TaskResult(worker, error=TakenBackError("it was not begun"), fault="final")
        start = time.perf_counter()
        try:
            result = self.function(item)
            if isinstance(result, Doubtful):
                return TaskResult(worker, result.result, PassingError(result.why), "passing")
            return TaskResult(worker, result, seconds=time.perf_counter() - start)
        except Exception as error:
            return TaskResult(worker, error=_portable(error, worker), fault=fault_of(error))


def _call_pickled(pickled: bytes, item: Any) -> TaskResult:
    return _unpickled(pickled)(item)


@lru_cache(maxsize=4)
def _unpickled(pickled: bytes) -> TaskWrapper:
    from distributed.protocol.pickle import loads

    return TaskWrapper(loads(pickled))


def this_worker() -> str:
    """The name of this process in its pool, as in ``Pool.answers``."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return HERE
    try:
        return str(distributed.get_worker().address)
    except ValueError:  # this thread is not a worker's
        return HERE


def _portable(error: Exception, worker: str) -> Exception:
    """The error, with its traceback as a note; replaced where it does not survive pickling, as in
    many libraries."""
    if worker == HERE:
        return error
    where = "".join(traceback.format_exception(error)).rstrip()
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(f"on worker {worker}:\n{where}")
    return error


def start_item(key: str) -> bool:
    """Note that an item of the task starts; False if the task is cancelled. ``""``: a task that can't
    be cancelled."""
    with _guard:
        if key in _cancelled:
            return False
        if key:
            _started.pop(key, None)
            _started[key] = None
        if len(_started) > REMEMBERED:
            _started.pop(next(iter(_started)))
        return True


def cancel_unstarted(keys: Collection[str]) -> list[str]:
    """Cancel tasks: no further item of them starts here. Returns those that this worker has started."""
    with _guard:
        _cancelled.update(keys)
        return [key for key in keys if key in _started]


def this_task() -> str:
    """The key of the task that runs in this thread; ``""`` outside a worker."""
    module = sys.modules.get("distributed.worker")
    return "" if module is None else str(getattr(module.thread_state, "key", ""))
