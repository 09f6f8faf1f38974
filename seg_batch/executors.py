"""Who does the work: threads of this process, or the processes of a Dask cluster.

One scheduler for all (:func:`run_bounded`): a bounded number of futures in flight, submitted in
the order of the items, each replaced as it ends. Dask appears in this file only. A pool offers
``submit(function, item) -> future``; a future offers ``add_done_callback`` and ``result``.
Two items run at once in every process, so that reading, model and writing overlap.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from seg_batch.errors import ClusterError, RefusedError, SegbatchError
from seg_batch.machine import cores, gpus
from seg_batch.version import package_version

IN_FLIGHT = 2
CONNECT_S = 10
PATIENCE_S = 60


class Pool(Protocol):
    """Where functions run. ``workers``: processes; ``window``: futures in flight at most;
    ``inline``: whether it is this very process; ``ask`` calls a function once in every process;
    ``drain`` ends what is still running."""

    name: str
    inline: bool
    workers: int
    window: int

    def submit(self, function: Callable[..., Any], *args: Any) -> Any: ...

    def ask(self, function: Callable[..., Any], *args: Any) -> dict[str, Any]: ...

    def alive(self) -> bool: ...

    def drain(self) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """What became of one item: its result, or the error of its last try."""

    item: Any
    result: Any = None
    error: BaseException | None = None


class InlinePool:
    """Threads of this process: one reads or writes while another has the model."""

    name, inline, workers = "inline", True, 1

    def __init__(self, threads: int = IN_FLIGHT) -> None:
        self.window = threads
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="segbatch")

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self._threads.submit(function, *args)

    def ask(self, function: Callable[..., Any], *args: Any) -> dict[str, Any]:
        return {"this process": function(*args)}

    def alive(self) -> bool:
        return True

    def drain(self) -> None:
        """What waits is dropped, what runs is waited for; then there may be more to do."""
        self.close()
        self._threads = ThreadPoolExecutor(self.window, thread_name_prefix="segbatch")

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)


class DaskPool:
    """Processes of a Dask cluster: one of our own making, or an existing one by address."""

    inline = False

    def __init__(self, client: Any, cluster: Any = None) -> None:
        self.name = client.scheduler.address if cluster is None else "local"
        self._client, self._cluster = client, cluster
        # A lost scheduler is told of in one line (``run_bounded``), not in Dask's tracebacks.
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
        self.workers = max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
        self.window = (IN_FLIGHT + 1) * self.workers
        self._alone_since: float | None = None

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self._client.submit(function, *args, pure=False, retries=0)

    def ask(self, function: Callable[..., Any], *args: Any) -> dict[str, Any]:
        """``function(*args)`` once on every worker, by worker address."""
        return dict(self._client.run(function, *args))

    def alive(self) -> bool:
        """False when the scheduler is gone, or has had no worker for a minute."""
        if self._client.status != "running":
            return False
        try:
            if self._client.nthreads():  # asked anew: scheduler_info is a copy that may be old
                self._alone_since = None
                return True
        except OSError:
            return False
        self._alone_since = self._alone_since or time.monotonic()
        return time.monotonic() - self._alone_since < PATIENCE_S

    def drain(self) -> None:
        """Nothing to wait for: a worker's block is written whole, or not marked."""

    def close(self) -> None:
        self._client.close(timeout=2)
        if self._cluster is not None:
            self._cluster.close(timeout=5)


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


def check_versions(pool: DaskPool) -> None:
    """ClusterError unless every worker runs this version of the package."""
    version = package_version()
    try:
        found = pool.ask(package_version)
    except Exception as error:
        raise ClusterError(
            f"a worker can't import segbatch ({error}): install segbatch {version} on the workers"
        ) from None
    wrong = {worker: v for worker, v in found.items() if v != version}
    if wrong:
        worker, other = next(iter(wrong.items()))
        raise ClusterError(
            f"worker {worker} runs segbatch {other}, this is {version}, so blocks could differ: "
            "install one version everywhere"
        )


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


def run_bounded(
    pool: Pool, function: Callable[..., Any], items: Iterable[Any], *, retries: int = 1
) -> Iterator[Outcome]:
    """``function(item)`` for every item, at most ``pool.window`` at once, in order of completion.

    An item that raises is tried again ``retries`` times, unless the error is a refusal that
    another try can't change. A pool that dies raises ClusterError: what is done is on disk.
    """
    ended: queue.Queue[tuple[Any, Any, int]] = queue.Queue()
    waiting = iter(items)
    in_flight = 0

    def start(item: Any, tries: int) -> None:
        future = pool.submit(function, item)
        future.add_done_callback(lambda f: ended.put((f, item, tries)))

    def start_next() -> int:
        for item in waiting:
            start(item, 0)
            return 1
        return 0

    for _ in range(pool.window):
        in_flight += start_next()
    while in_flight:
        future, item, tries = _next_ended(ended, pool)
        outcome = _outcome(future, item)
        if outcome.error is not None and tries < retries and _worth_retrying(outcome.error):
            start(item, tries + 1)
            continue
        in_flight += start_next() - 1
        yield outcome


def _next_ended(ended: queue.Queue[Any], pool: Pool) -> Any:
    while True:
        try:
            return ended.get(timeout=1)
        except queue.Empty:
            if not pool.alive():
                raise ClusterError(
                    "the Dask scheduler or all its workers are gone: start them and run the same "
                    "command again to resume"
                ) from None


def _outcome(future: Any, item: Any) -> Outcome:
    try:
        return Outcome(item, result=future.result())
    except Exception as error:
        return Outcome(item, error=error)


def _worth_retrying(error: BaseException) -> bool:
    return not isinstance(error, RefusedError) and not (
        isinstance(error, SegbatchError) and error.status == 3
    )
