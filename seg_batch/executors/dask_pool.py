"""The pool of a Dask cluster's worker processes."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, cast

from seg_batch.core.errors import ClusterError
from seg_batch.core.hardware import here
from seg_batch.executors import task
from seg_batch.executors.cluster import worker_admission
from seg_batch.executors.cluster.requirements import WorkerRequirements
from seg_batch.executors.cluster.worker_events import WorkerEvents, respawn
from seg_batch.executors.pool import IN_FLIGHT, Pool
from seg_batch.executors.worker_health import Health

PATIENCE_S = 60  # without any worker
ANSWER_S = 60  # for one worker to answer one question
TAKE_BACK_S = 5  # for a worker to say what it has started
LEAVING_S = 45  # until Dask notices that a worker is gone whose link was cut
REVIVE_S = 5.0  # between two checks for processes that died while they started
KNOWN_S = 1.0  # how old the number of workers may be


class DaskPool(Pool):
    """Processes of a Dask cluster: our own (``cluster``), or an existing one that ``client`` reached.

    ``needs``: what ``check_workers`` settled. A worker that joins later and lacks some of it leaves
    before its first task, and is listed in ``dropped`` with the reason.
    """

    def __init__(self, client: Any, cluster: Any = None, name: str | None = None) -> None:
        self.name = name or client.scheduler.address
        self.needs: WorkerRequirements | None = None
        self.dropped: dict[str, str] = {}
        self.health = Health()
        self._client, self._cluster = client, cluster
        self._started = len(cluster.worker_spec) if cluster is not None else 0
        self._revived_at = time.monotonic()
        # ``run_bounded`` reports a lost scheduler in one line, instead of Dask's tracebacks.
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
        self._known: tuple[str, ...] = ()
        self._known_at = -KNOWN_S
        self._alone_since: float | None = None
        self._names: dict[str, str] = {}
        self._losses = WorkerEvents(client)
        client.subscribe_topic(worker_admission.TOPIC, self._on_unfit)

    @property
    def workers(self) -> int:
        """Their number, which may change at any time; 1 when there is none."""
        if time.monotonic() - self._known_at >= KNOWN_S:
            self.workers_now()
        return max(1, len(self._known))

    @property
    def window(self) -> int:
        return (IN_FLIGHT + 1) * self.workers

    def workers_now(self) -> tuple[str, ...]:
        """The addresses of the workers; the last known ones if the scheduler does not answer."""
        with suppress(OSError):
            self._known = tuple(self._client.nthreads())
        self._known_at = time.monotonic()
        self._revive()
        return self._known

    def _revive(self) -> None:
        """Restart processes of our own cluster that died while they started."""
        wanted = self._started - len(self.dropped)
        if len(self._known) < wanted and self._known_at - self._revived_at >= REVIVE_S:
            self._revived_at = self._known_at
            respawn(self._cluster, wanted)

    def submit(self, function: Callable[..., Any], *args: Any, avoid: Collection[str] = ()) -> Any:
        name = getattr(getattr(function, "func", function), "__name__", "task")
        if self.needs is not None:
            function, args = worker_admission.run_if_fit, (self.needs, function, *args)
        others = [w for w in self.workers_now() if w not in avoid] if avoid else []
        future = self._client.submit(
            function,
            *args,
            key=f"{name}-{uuid.uuid4().hex}",
            pure=False,
            retries=0,
            workers=others or None,
            allow_other_workers=bool(others),  # else it would wait for ever once they are gone
        )
        return self._fetched(future)

    def _fetched(self, future: Any) -> Future[Any]:
        """A future that is done when the result has arrived here. Dask's own future is done when the
        worker has finished, and waiting for its result would hang with a worker that is then suspended
        or cut off.

        Dask fetches the results of several futures in one request. A waiter that is cancelled would
        cancel the request for all of them: hence the shield."""

        async def fetch() -> Any:
            result = asyncio.ensure_future(future)
            # Else asyncio prints a traceback of an error that has no waiter any more.
            result.add_done_callback(lambda done: done.cancelled() or done.exception())
            try:
                return await asyncio.shield(result)
            finally:
                future.release()  # now: until garbage collection, Dask would go on working on it

        fetched = asyncio.run_coroutine_threadsafe(fetch(), self._client.loop.asyncio_loop)
        fetched.key = future.key  # type: ignore[attr-defined]
        return fetched

    def placed(self) -> dict[str, str]:
        """As in ``Pool``; tasks that wait for a worker are left out."""
        try:
            owned = [*self._client.processing().items(), *self._client.has_what().items()]
        except OSError:
            return {}
        return {key: worker for worker, keys in owned for key in keys}

    def take_back(self, futures: Collection[Any]) -> list[Any]:
        """As in ``Pool``; a worker that does not answer keeps its tasks."""
        keys = [future.key for future in futures]
        answers = self._answers(task.cancel_unstarted, keys, limit_s=TAKE_BACK_S)
        started = {key for keys in answers.values() if isinstance(keys, list) for key in keys}
        silent = {worker for worker, keys in answers.items() if not isinstance(keys, list)}
        if silent:
            started |= {key for key, worker in self.placed().items() if worker in silent}
        return [future for future in futures if future.key not in started and future.cancel()]

    def answers(self, function: Callable[..., Any], *args: Any) -> dict[str, Any]:
        """As in ``Pool``. The answer of a worker that is silent for a minute is a TimeoutError; the
        others are not held up. A worker that can't be reached may be gone and still be listed: all are
        asked again until it answers or has left the list."""
        until = time.monotonic() + LEAVING_S
        while True:
            answers = self._answers(function, *args)
            unreachable = [
                isinstance(answer, OSError) and not isinstance(answer, TimeoutError)
                for answer in answers.values()
            ]
            if (answers and not any(unreachable)) or time.monotonic() > until:
                break
            time.sleep(1)
        if not answers:
            raise ClusterError(
                f"all workers of {self.name} are gone, so nothing would run: start them again"
            )
        return answers

    def _answers(
        self, function: Callable[..., Any], *args: Any, limit_s: float = ANSWER_S
    ) -> dict[str, Any]:
        async def answer_of(worker: str) -> Any:
            call = self._client.run(
                worker_admission.answered, function, *args, workers=[worker], on_error="return"
            )
            try:
                return (await asyncio.wait_for(call, limit_s)).get(worker, OSError("it is gone"))
            except (TimeoutError, OSError) as error:
                return error

        async def everyone() -> dict[str, Any]:
            workers = list(await self._client.nthreads())
            answers = await asyncio.gather(*map(answer_of, workers))
            return dict(zip(workers, answers, strict=True))

        return dict(self._client.sync(everyone))

    def memory_limits(self) -> dict[str, int]:
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        return {worker: int(info.get("memory_limit") or 0) for worker, info in workers.items()}

    def retire(self, worker: str, why: str) -> None:
        """The worker gets no further task, and its process ends. Its tasks are repeated elsewhere."""
        self.dropped[worker] = why
        with suppress(OSError):  # if the scheduler is gone, ``alive`` reports it
            self._client.retire_workers([worker], close_workers=True)

    def _on_unfit(self, event: tuple[float, dict[str, str]]) -> None:
        self.dropped[event[1]["worker"]] = event[1]["why"]

    def introduce(self) -> None:
        """Make all workers, later ones too, report their host and pid."""
        from seg_batch.executors.cluster.worker_plugins import NAME_TOPIC, ReportName

        self._client.subscribe_topic(NAME_TOPIC, self._on_name)
        self._client.register_plugin(ReportName())
        # Present workers may have reported before the scheduler knew of our subscription.
        names = self._answers(here)
        self._names |= {worker: name for worker, name in names.items() if isinstance(name, str)}

    def _on_name(self, event: tuple[float, dict[str, str]]) -> None:
        self._names[event[1]["worker"]] = event[1]["process"]

    def known_as(self, worker: str) -> str:
        return self._names.get(worker, worker)

    def losses(self) -> list[tuple[str, str]]:
        lost = [(worker, why) for worker, why in self._losses.take() if worker not in self.dropped]
        return [(self.known_as(worker), why) for worker, why in lost]

    def alive(self) -> bool:
        """False when the scheduler is gone, or has had no worker for a minute."""
        if self._client.status != "running":
            return False
        try:
            if self._client.nthreads():
                self._alone_since = None
                return True
        except OSError:
            return False
        self._alone_since = self._alone_since or time.monotonic()
        return time.monotonic() - self._alone_since < PATIENCE_S

    def drain(self) -> None:
        """Nothing to wait for: a block is written whole, or not marked as done."""

    def close(self) -> None:
        with _silenced("distributed.scheduler"), suppress(OSError):
            self._client.close(timeout=2)
        if self._cluster is not None:
            close_cluster(self._cluster)


@contextmanager
def _silenced(name: str) -> Iterator[None]:
    """A scheduler in this process complains when its client leaves, which is intended here."""
    log = logging.getLogger(name)
    before = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(before)


def close_cluster(cluster: Any) -> None:
    """Close a Dask cluster. One that takes too long (TimeoutError, which is an OSError) ends with this
    process, and harms nothing that is done."""
    with suppress(OSError):
        cluster.close(timeout=5)


def gather_logs(pool: Pool, on_line: Callable[[dict[str, Any]], None]) -> None:
    """From now on call ``on_line`` with each warning and error that a library logs in a worker, later
    workers included: ``process`` (host:pid), ``level``, ``logger``, ``text``. It is called from a
    thread of the pool.

    Nothing to do for a pool in this process, whose libraries log here anyway.
    """
    if pool.inline:
        return
    from seg_batch.executors.cluster.worker_plugins import LOG_TOPIC, GatherLogs

    client = cast(DaskPool, pool)._client
    client.subscribe_topic(LOG_TOPIC, lambda event: on_line(event[1]))
    client.register_plugin(GatherLogs())
