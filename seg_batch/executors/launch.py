"""Dask clusters: one of our own making on this machine, or an existing one by address."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from seg_batch.errors import ClusterError
from seg_batch.executors.checks import check_versions
from seg_batch.executors.dask_pool import DaskPool
from seg_batch.executors.pool import IN_FLIGHT, InlinePool, Pool
from seg_batch.machine import cores, gpus

CONNECT_S = 10


def local_pool(workers: int, gpus: int = 0) -> DaskPool:
    """A Dask cluster of ``workers`` spawned processes here, sharing the cores (one per GPU).

    Dask's own memory limits stay off: the plan has promised less, and a paused worker helps no one.
    """
    import dask
    from distributed import Client, LocalCluster

    share = str(max(1, cores() // workers))
    environment = {"TF_NUM_INTRAOP_THREADS": share, "TF_NUM_INTEROP_THREADS": "1"}
    with dask.config.set({"distributed.scheduler.worker-saturation": 1.0}):
        cluster = LocalCluster(
            n_workers=0,
            threads_per_worker=IN_FLIGHT,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            memory_limit=0,
            env=environment,
            silence_logs=50,
        )
    client = Client(cluster)
    if gpus:
        for gpu in range(workers):
            cluster.new_spec["options"]["env"] = {**environment, "CUDA_VISIBLE_DEVICES": str(gpu)}
            cluster.scale(gpu + 1)
    else:
        cluster.scale(workers)
    client.wait_for_workers(workers, timeout=60)
    return DaskPool(client, cluster)


def remote_pool(address: str) -> DaskPool:
    """The Dask cluster whose scheduler listens at ``address`` (``tcp://`` or ``tls://``)."""
    from distributed import Client

    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterError(
            f"no Dask scheduler answers at {address} ({type(error).__name__}): "
            "start one, or use --cluster local"
        ) from None
    try:
        client.wait_for_workers(1, timeout=CONNECT_S)
    except TimeoutError:
        client.close()
        raise ClusterError(
            f"the scheduler at {address} has no workers, so nothing would run: "
            "start dask workers with segbatch installed"
        ) from None
    pool = DaskPool(client)
    check_versions(pool)
    return pool


@contextmanager
def open_pool(cluster: str, workers: int) -> Iterator[Pool]:
    """The pool that ``--cluster`` names: ``inline``, ``local``, an address, or ``auto``.

    ``auto`` stays in this process for one worker and makes a local cluster for several.
    """
    pool: Pool
    if cluster == "inline" or (cluster == "auto" and workers == 1):
        pool = InlinePool()
    elif cluster in ("auto", "local"):
        pool = local_pool(workers, gpus())
    elif "://" in cluster:
        pool = remote_pool(cluster)
    else:
        raise ClusterError(
            f"--cluster {cluster!r} is unknown: use auto, inline, local or tcp://host:8786"
        )
    try:
        yield pool
    finally:
        pool.close()
