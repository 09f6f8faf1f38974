"""What a worker has begun, so that a run that is stopped can take back the rest.

A task that was handed out waits, in the scheduler or in a worker, and only the worker knows when it
begins. Both happen under one lock: an item is begun or taken back, never both. A task of several items
begins each of them, so the rest of one that is at work is taken back too.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Collection

REMEMBERED = 1000  # tasks, of which few are still in flight

_guard = threading.Lock()
_begun: dict[
    str, None
] = {}  # the newest stands last; what is over stays, for its result may lie here
_taken_back: set[str] = set()


def begin(key: str) -> bool:
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


def keep_back(keys: Collection[str]) -> list[str]:
    """Those of the tasks that this worker has begun; no item of any of them will begin from now on."""
    with _guard:
        _taken_back.update(keys)
        return [key for key in keys if key in _begun]


def this_task() -> str:
    """The key of the task that this thread does; ``""`` where it is not a worker's."""
    module = sys.modules.get("distributed.worker")
    return "" if module is None else str(getattr(module.thread_state, "key", ""))
