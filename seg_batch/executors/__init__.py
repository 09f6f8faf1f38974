"""Where the work runs: in threads of this process, or in the processes of a Dask cluster.

One scheduler for all (`run_bounded`): a bounded number of futures in flight, submitted in the order
of the items, each replaced as it ends. Only this package imports Dask. A pool offers
``submit(function, item) -> future``; a future offers ``add_done_callback`` and ``result``.

Importing this is cheap: a plan asks it for a number, and starts nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seg_batch.executors.cluster.launch import open_pool
    from seg_batch.executors.cluster.preflight import require_memory
    from seg_batch.executors.cluster.requirements import WorkerRequirements
    from seg_batch.executors.dask_pool import gather_logs
    from seg_batch.executors.pool import HERE, IN_FLIGHT, Outcome, Pool
    from seg_batch.executors.scheduler import RetryCallback, run_bounded
    from seg_batch.executors.task import Doubtful
    from seg_batch.executors.task_grouping import group_size

__all__ = [
    "HERE",
    "IN_FLIGHT",
    "Doubtful",
    "Outcome",
    "Pool",
    "RetryCallback",
    "WorkerRequirements",
    "gather_logs",
    "group_size",
    "open_pool",
    "require_memory",
    "run_bounded",
]

_MODULES = {
    "Doubtful": "task",
    "HERE": "pool",
    "IN_FLIGHT": "pool",
    "Outcome": "pool",
    "Pool": "pool",
    "RetryCallback": "scheduler",
    "WorkerRequirements": "cluster.requirements",
    "gather_logs": "dask_pool",
    "group_size": "task_grouping",
    "open_pool": "cluster.launch",
    "require_memory": "cluster.preflight",
    "run_bounded": "scheduler",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
