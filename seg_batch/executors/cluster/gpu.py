"""One process per GPU: what each is started with.

``CUDA_VISIBLE_DEVICES`` counts only when it is set before the first CUDA library is imported, so it
goes into the environment a process is started with. It is the devices' own names that are handed on:
where this process may use GPUs 2 and 3, its workers get 2 and 3, not 0 and 1.
"""

from __future__ import annotations

from typing import Any

from seg_batch.machine import cores, gpu_names

VISIBLE = "CUDA_VISIBLE_DEVICES"


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
