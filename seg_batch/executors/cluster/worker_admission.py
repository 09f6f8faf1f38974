"""Worker admission: a check in the worker around each task or question.

Workers join after a run has started: jobs that waited in a queue, processes that their nanny restarted.
Each checks itself before its first task. One that does not fit reports why, leaves the cluster and
returns its task; Dask lets such workers join whatever their plugins raise.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from seg_batch.executors.cluster.requirements import WorkerRequirements, mismatch, worker_facts

TOPIC = "segbatch-unfit"
LEAVE_S = 30.0

_fits: set[WorkerRequirements] = set()


async def answered(function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)`` in a thread, so that the worker's event loop is not blocked."""
    return await asyncio.to_thread(function, *args)


def run_if_fit(needs: WorkerRequirements, function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)``, if this worker has what the run needs; else the worker leaves."""
    if needs not in _fits:
        if why := mismatch(worker_facts(needs), needs):
            _leave(why)
        _fits.add(needs)
    return function(*args)


def _leave(why: str) -> None:
    """Retire this worker; raises ``Reschedule``, with which Dask repeats the task elsewhere."""
    from distributed import Reschedule, get_worker
    from distributed.core import Status

    worker = get_worker()
    worker.log_event(TOPIC, {"worker": worker.address, "why": why})
    worker.loop.add_callback(worker.close_gracefully, restart=False, reason=why)
    deadline = time.monotonic() + LEAVE_S
    while worker.status == Status.running and time.monotonic() < deadline:
        time.sleep(0.02)
    raise Reschedule
