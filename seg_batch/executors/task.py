"""What runs around an item where it is done, so that its end tells by whom, and why.

Also what a worker has begun, so that a run that is stopped can take back the rest. A task that was
handed out waits, in the scheduler or in a worker, and only the worker knows when it begins. Both happen
under one lock: an item is begun or taken back, never both. A task of several items begins each of them,
so the rest of one that is at work is taken back too.
"""

from __future__ import annotations

import pickle
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from seg_batch.core.errors import PassingError, StoppedError
from seg_batch.executors.faults import Fault, fault_of
from seg_batch.executors.pool import HERE

REMEMBERED = 1000  # tasks, of which few are still in flight
_guard = threading.Lock()
_begun: dict[
    str, None
] = {}  # the newest stands last; what is over stays, for its result may lie here
_taken_back: set[str] = set()


@dataclass(frozen=True)
class TaskResult:
    """The end of one attempt: the result, the error with what is behind it, or both (``Doubtful``)."""

    worker: str
    result: Any = None
    error: BaseException | None = None
    fault: Fault | None = None
    seconds: float = 0.0  # that it took, where there is no error


class TakenBackError(StoppedError):
    """The end of an item that was not begun: nobody wanted it any more, or those before it in its task
    took too long."""


@dataclass(frozen=True)
class Doubtful:
    """What a function returns whose ``result`` another try may better, and why; it counts if no try
    is left."""

    result: Any
    why: str


class TaskWrapper:
    """``function``, whose end comes back as ``TaskResult``; nothing is raised but what ends a thread.

    ``func``: that function, after which pools name a task (as with ``functools.partial``). It is
    pickled once for all tasks, since it may hold a whole plan, and unpickled once in a process.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.func = getattr(function, "func", function)

    def __reduce__(self) -> tuple[Any, ...]:
        return Packed, (self._packed,)

    @cached_property
    def _packed(self) -> bytes:
        from distributed.protocol.pickle import dumps

        return bytes(dumps(self.function))

    def __call__(self, item: Any) -> TaskResult:
        worker = this_worker()
        if not start_item(this_task()):
            return TaskResult(worker, error=TakenBackError("it was not begun"), fault="final")
        began = time.perf_counter()
        try:
            result = self.function(item)
            if isinstance(result, Doubtful):
                return TaskResult(worker, result.result, PassingError(result.why), "passing")
            return TaskResult(worker, result, seconds=time.perf_counter() - began)
        except Exception as error:
            return TaskResult(worker, error=_portable(error, worker), fault=fault_of(error))


class Packed:
    """A ``TaskWrapper`` on its way: the scheduler hands it on without a look inside."""

    def __init__(self, packed: bytes) -> None:
        self.packed = packed

    def __call__(self, item: Any) -> TaskResult:
        return _carrying(self.packed)(item)


@lru_cache(maxsize=4)
def _carrying(packed: bytes) -> TaskWrapper:
    from distributed.protocol.pickle import loads

    return TaskWrapper(loads(packed))


def this_worker() -> str:
    """The name of this process in its pool; ``pool.ask`` uses the same."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return HERE
    try:
        return str(distributed.get_worker().address)
    except ValueError:  # this thread is not a worker's
        return HERE


def _portable(error: Exception, worker: str) -> Exception:
    """The error as it may travel: with where it was raised written down, and one that survives
    pickling (many libraries' don't)."""
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
    """Whether an item of the task may begin; if so, that is noted. ``""``: a task that nobody can take
    back."""
    with _guard:
        if key in _taken_back:
            return False
        if key:
            _begun.pop(key, None)
            _begun[key] = None
        if len(_begun) > REMEMBERED:
            _begun.pop(next(iter(_begun)))
        return True


def cancel_unstarted(keys: Collection[str]) -> list[str]:
    """Those of the tasks that this worker has begun; no item of any of them will begin from now on."""
    with _guard:
        _taken_back.update(keys)
        return [key for key in keys if key in _begun]


def this_task() -> str:
    """The key of the task that this thread does; ``""`` where it is not a worker's."""
    module = sys.modules.get("distributed.worker")
    return "" if module is None else str(getattr(module.thread_state, "key", ""))
