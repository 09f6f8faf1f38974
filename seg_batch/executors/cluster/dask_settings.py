"""How processes are started by us: Dask's settings, one process per GPU, signals.

Each task waits at the scheduler until a worker is free, so that none waits behind a slow one. What
Dask measures of itself is turned down: at its own pace a scheduler without work takes 4 % of a core
(38 ms a second, measured; 7 with these), which over a night of small inputs is more than their tasks.
Its logs of messages keep few: each message holds the inputs it spoke of, 3 kB of them. A worker kept
what its profiler saw in each of the last 1000 seconds, and grew by it.

``CUDA_VISIBLE_DEVICES`` counts only when it is set before the first CUDA library is imported, so it
goes into the environment a process is started with. It is the devices' own names that are handed on:
where this process may use GPUs 2 and 3, its workers get 2 and 3, not 0 and 1.

SIGINT and SIGTERM are heard by the coordinator alone.
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
    """For as long as a cluster is being started: its scheduler keeps what it found then. A nanny reads
    them when it comes to it, which may be later: it is given ``SETTINGS`` as its ``config``."""
    import dask
    import distributed  # noqa: F401  its own come first, else they would leave with ours

    return dask.config.set(SETTINGS)


def environment(worker: int, workers: int) -> dict[str, str]:
    """What process number ``worker`` of ``workers`` is started with: its share of the cores, and its
    own GPU where there are any (more processes than GPUs take them in turn)."""
    share = str(max(1, cores() // workers))
    devices = gpu_names()
    own = {VISIBLE: devices[worker % len(devices)]} if devices else {}
    return {"TF_NUM_INTRAOP_THREADS": share, "TF_NUM_INTEROP_THREADS": "1", **own}


def cuda_cluster(workers: int, **arguments: Any) -> Any:
    """dask-cuda's cluster of one process per GPU, or None where it is not installed, does not work
    with this Dask, or the GPUs are fewer than the workers."""
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
def unheard() -> Iterator[None]:
    """Threads and processes begun meanwhile, and those that they begin, never hear either.

    A terminal sends its interrupt, and systemd its SIGTERM, to all processes of a run. Were workers to
    end by it, what they have in hand would be lost; when their coordinator ends, so do they.
    """
    ensure_running()  # it unblocks both in the thread that begins it: here, and not later
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
