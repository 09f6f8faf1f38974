"""How we start processes: Dask's settings, one process per GPU, signals.

Each task waits at the scheduler until a worker is free, so that none waits behind a slow one. Dask's
measurements of itself are slowed down: at its own pace an idle scheduler takes 4 % of a core (38 ms a
second, measured; 7 with these), which in a run of many small inputs is more than their tasks. Its logs
of messages are short: each message holds the inputs that it is about, 3 kB of them. The profiler is
off: a worker kept its samples of each of the last 1000 seconds, and grew by them.

``CUDA_VISIBLE_DEVICES`` counts only when it is set before the first CUDA library is imported, so it
is part of the environment that a process is started with. It holds the devices' own names: where this
process may use GPUs 2 and 3, its workers get 2 and 3, not 0 and 1.

Only the coordinator receives SIGINT and SIGTERM.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.resource_tracker import ensure_running
from typing import Any

from seg_batch.core.hardware import cores, gpu_names

SETTINGS = {
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.worker.profile.enabled": False,
    "distributed.admin.low-level-log-length": 20,  # messages kept, each with its tasks
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.tick.limit": "30s",
    "distributed.admin.system-monitor.interval": "2s",
    "distributed.admin.system-monitor.log-length": 1800,  # an hour
    "distributed.admin.system-monitor.disk": False,
}

VISIBLE = "CUDA_VISIBLE_DEVICES"

ENDING = (signal.SIGINT, signal.SIGTERM)


def our_settings() -> AbstractContextManager[object]:
    """Dask's configuration while a cluster starts, which its scheduler keeps. A nanny may read it later,
    so it also gets ``SETTINGS`` as its ``config``."""
    import dask
    import distributed  # noqa: F401  loads its defaults first, else they would be undone with ours

    return dask.config.set(SETTINGS)


def environment(worker: int, workers: int) -> dict[str, str]:
    """Variables for process number ``worker`` of ``workers``: its share of the cores, and its own GPU
    where there are any (round-robin where there are more processes than GPUs)."""
    share = str(max(1, cores() // workers))
    devices = gpu_names()
    own = {VISIBLE: devices[worker % len(devices)]} if devices else {}
    return {"TF_NUM_INTRAOP_THREADS": share, "TF_NUM_INTEROP_THREADS": "1", **own}


def cuda_cluster(workers: int, **arguments: Any) -> Any:
    """dask-cuda's cluster of one process per GPU; None where it is not installed, does not work with
    this Dask, or there are fewer GPUs than workers."""
    devices = gpu_names()
    if not 0 < workers <= len(devices):
        return None
    try:
        from dask_cuda import LocalCUDACluster
    except Exception:  # each of its releases fits one Dask, and others fail in their own ways
        return None
    visible = list(devices[:workers])
    return LocalCUDACluster(n_workers=workers, CUDA_VISIBLE_DEVICES=visible, **arguments)


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Threads and processes that start meanwhile, and their children, ignore both signals.

    A terminal sends its interrupt, and systemd its SIGTERM, to all processes of a run. A worker that
    ended by it would lose its tasks; workers end with their coordinator instead.
    """
    ensure_running()  # it unblocks both signals in the thread that starts it, so it is started before
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
