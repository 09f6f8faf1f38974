"""From a cluster spec to a pool: on this machine, from a cluster class, or at an address."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from seg_batch.config.cluster import ClusterSpec, read_spec
from seg_batch.core.errors import ClusterError
from seg_batch.core.registry.engines import engine_on
from seg_batch.executors.cluster.certificates import security_of, temporary_certs
from seg_batch.executors.cluster.dask_settings import (
    SETTINGS,
    cuda_cluster,
    environment,
    our_settings,
    signals_blocked,
)
from seg_batch.executors.cluster.deploy import (
    ON_THIS_MACHINE,
    lifetime_advice,
    opens_to_others,
    start_cluster,
)
from seg_batch.executors.cluster.main_script import require_guard
from seg_batch.executors.cluster.preflight import (
    check_workers,
    latecomer_requirements,
    require_same_scheduler,
)
from seg_batch.executors.cluster.requirements import WorkerRequirements
from seg_batch.executors.dask_pool import DaskPool, close_cluster
from seg_batch.executors.pool import InlinePool, Pool

CONNECT_S = 10
LOCAL_S = 300  # for all processes of this machine to start, busy as it may be


@contextmanager
def open_pool(
    cluster: str | Mapping[str, Any] | ClusterSpec,
    workers: int,
    needs: WorkerRequirements | None = None,
) -> Iterator[Pool]:
    """The pool that ``--cluster`` names: a word, an address, a YAML file, or the content of such a file.

    ``auto`` is this process for one worker, and a local cluster for several. Every worker is checked
    for what the run ``needs`` before the pool is yielded; ClusterError, in one line, if it lacks it.
    """
    spec = read_spec(cluster)
    if spec.cluster == "inline" or (spec.cluster == "auto" and workers == 1):
        with closing(InlinePool()) as inline:
            yield inline
        return
    with ExitStack() as last_first:
        pool = _dask_pool(spec, workers, last_first)
        needs = needs or WorkerRequirements()
        if spec.here:  # the plan has shared out this machine's memory
            needs = replace(needs, memory_bytes=0)
        settled, answers = check_workers(pool, needs)
        pool.needs = latecomer_requirements(settled)
        pool.introduce()
        pool.advice += _unused_gpus(needs, answers)
        yield pool


def _dask_pool(spec: ClusterSpec, workers: int, last_first: ExitStack) -> DaskPool:
    if spec.cluster in ("auto", "local"):
        pool = local_pool(workers)
    elif "://" in spec.cluster:
        pool = remote_pool(spec)
    else:
        return class_pool(spec, workers, last_first)
    last_first.callback(pool.close)
    return pool


def local_pool(workers: int) -> DaskPool:
    """A Dask cluster of ``workers`` spawned processes here, sharing the cores (one per GPU).

    Dask's own memory limits are off: the plan's memory is below them, and a paused worker only delays.
    """
    require_guard()
    from distributed import LocalCluster

    arguments: dict[str, Any] = {**ON_THIS_MACHINE, "host": "127.0.0.1", "config": SETTINGS}
    with signals_blocked(), our_settings():
        cluster = cuda_cluster(workers, **arguments)
        if cluster is None:
            cluster = LocalCluster(n_workers=0, processes=True, **arguments)
            plain = cluster.new_spec
            for worker in range(workers):  # each with its own spec, which is read when it starts
                own = {**plain["options"], "env": environment(worker, workers)}
                cluster.new_spec = {**plain, "options": own}
                cluster.scale(worker + 1)
    client = _client(cluster)
    _await_workers(client, workers, LOCAL_S, f"on this machine after {LOCAL_S} s: it has too much else "
                   "to do, or they die as they start; run the same command again, or with fewer")  # fmt: skip
    pool = DaskPool(client, cluster, "local")
    pool.dashboard = _dashboard(cluster.scheduler)
    return pool


def class_pool(spec: ClusterSpec, workers: int, last_first: ExitStack) -> DaskPool:
    """A cluster of the class that ``spec`` names; ``last_first`` closes it."""
    advice = lifetime_advice(spec)
    certs = Path(spec.security) if spec.security else None
    if certs is None and opens_to_others(spec):
        certs = temporary_certs()
        last_first.callback(shutil.rmtree, certs, ignore_errors=True)
    count = spec.most_workers or workers
    with signals_blocked(), our_settings():
        cluster = start_cluster(spec, count, certs)
    last_first.callback(close_cluster, cluster)
    client = _client(cluster)
    name = spec.cluster.rpartition(".")[2]
    pool = DaskPool(client, name=name)
    last_first.callback(pool.close)
    first = count if spec.here and not spec.adapt else 1
    _await_workers(client, first, spec.wait_s, f"of {name} came within {spec.wait}: look at its "
                   "queue, or give it longer (wait: 2h)")  # fmt: skip
    pool.advice = advice
    pool.dashboard = _dashboard(getattr(cluster, "scheduler", None))
    return pool


def remote_pool(spec: ClusterSpec) -> DaskPool:
    """The Dask cluster whose scheduler listens at an address (``tcp://`` or ``tls://``)."""
    address = spec.cluster
    security = security_of(Path(spec.security)) if spec.security else None
    try:
        client = _client(address, timeout=CONNECT_S, security=security)
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterError(
            f"no Dask scheduler answers at {address} ({type(error).__name__}): start one, "
            + ("look whether it has a certificate of the same set, " if security else "")
            + "or use --cluster local"
        ) from None
    require_same_scheduler(client)
    _await_workers(client, 1, CONNECT_S, f"at {address}, so nothing would run: start dask workers "
                   "with segbatch installed")  # fmt: skip
    return DaskPool(client)


def _client(of: Any, **arguments: Any) -> Any:
    from distributed import Client

    with our_settings():  # a client logs the messages that it sends, too
        return Client(of, set_as_default=False, **arguments)


def _await_workers(client: Any, number: int, limit_s: float, why: str) -> None:
    try:
        client.wait_for_workers(number, timeout=limit_s)
    except TimeoutError:
        client.close(timeout=2)
        raise ClusterError(f"there are no workers {why}") from None


def _dashboard(scheduler: Any) -> str | None:
    """The address of a local scheduler's pages: live ones with bokeh, else tables."""
    server = getattr(scheduler, "http_server", None)
    if server is None:
        return None
    page = "status" if find_spec("bokeh") else "info/main/workers.html"
    return f"http://{server.address}:{server.port}/{page}"


def _unused_gpus(needs: WorkerRequirements, answers: dict[str, dict[str, Any]]) -> tuple[str, ...]:
    idle = sum(facts["gpus"] > 0 for facts in answers.values())
    if not idle or needs.on_gpu or not needs.libraries:
        return ()
    using = engine_on(gpu=True)
    return (f"{idle} workers have a GPU that this plan leaves idle: --engine {using} uses it",)
