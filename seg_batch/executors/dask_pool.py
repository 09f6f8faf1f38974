"""The processes of a Dask cluster as a pool."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any

from seg_batch.core.errors import ClusterError
from seg_batch.core.hardware import here
from seg_batch.executors import task
from seg_batch.executors.cluster import worker_admission
from seg_batch.executors.cluster.requirements import WorkerRequirements
from seg_batch.executors.cluster.worker_events import WorkerEvents, respawn
from seg_batch.executors.pool import IN_FLIGHT
from seg_batch.executors.worker_health import Health

PATIENCE_S = 60  # without any worker
ANSWER_S = 60  # for one worker to answer one question
TAKE_BACK_S = 5  # to say what it has begun
LEAVING_S = 45  # until Dask notices that a worker is gone, whose link was cut
REVIVE_S = 5.0  # between two looks for processes that died as they started
KNOWN_S = 1.0  # how old the number of workers may be


class DaskPool:
    """Processes of a Dask cluster: one of our own making, or an existing one by address.

    ``needs``: what ``check_workers`` settled; a worker that comes later and lacks some of it takes
    itself out before its first task, and stands in ``dropped`` with the reason.
    """

    inline = False

    def __init__(self, client: Any, cluster: Any = None, name: str | None = None) -> None:
        self.name = name or client.scheduler.address
        self.needs: WorkerRequirements | None = None
        self.advice: tuple[str, ...] = ()
        self.dashboard: str | None = None
        self.dropped: dict[str, str] = {}
        self.health = Health()
        self._client, self._cluster = client, cluster
        self._made = len(cluster.worker_spec) if cluster is not None else 0
        self._revived_at = time.monotonic()
        # A lost scheduler is told of in one line (``run_bounded``), not in Dask's tracebacks.
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
        self._known: tuple[str, ...] = ()
        self._known_at = -KNOWN_S
        self._alone_since: float | None = None
        self._names: dict[str, str] = {}
        self._losses = WorkerEvents(client)
        client.subscribe_topic(worker_admission.TOPIC, self._left)

    @property
    def workers(self) -> int:
        """How many there are, which may change at any time; 1 when there is none."""
        if time.monotonic() - self._known_at >= KNOWN_S:
            self.workers_now()
        return max(1, len(self._known))

    @property
    def window(self) -> int:
        return (IN_FLIGHT + 1) * self.workers

    def workers_now(self) -> tuple[str, ...]:
        """The addresses of the workers there are, asked anew; what was known if nobody answers."""
        with suppress(OSError):
            self._known = tuple(self._client.nthreads())
        self._known_at = time.monotonic()
        self._revive()
        return self._known

    def _revive(self) -> None:
        wanted = self._made - len(self.dropped)
        if len(self._known) < wanted and self._known_at - self._revived_at >= REVIVE_S:
            self._revived_at = self._known_at
            respawn(self._cluster, wanted)

    def submit(self, function: Callable[..., Any], *args: Any, avoid: Collection[str] = ()) -> Any:
        """A future of ``function(*args)``; on a worker in ``avoid`` only where there is no other."""
        name = getattr(getattr(function, "func", function), "__name__", "task")
        call = (
            (function, *args)
            if self.needs is None
            else (worker_admission.run_if_fit, self.needs, function, *args)
        )
        others = [w for w in self.workers_now() if w not in avoid] if avoid else []
        future = self._client.submit(
            *call,
            key=f"{name}-{uuid.uuid4().hex}",
            pure=False,
            retries=0,
            workers=others or None,
            allow_other_workers=bool(others),  # else it would wait for ever once they are gone
        )
        return self._fetched(future)

    def _fetched(self, future: Any) -> Future[Any]:
        """Done when the result is here. It may never come: a worker can be done and then suspended,
        or cut off, and whoever asked Dask's own future would wait with it.

        Dask brings the results of several in one go, and whoever is cancelled while waiting for that
        would cancel it for all: hence the shield."""

        async def fetch() -> Any:
            result = asyncio.ensure_future(future)
            result.add_done_callback(_heard)
            try:
                return await asyncio.shield(result)
            finally:
                future.release()  # not when the garbage is collected: until then it is worked on

        fetched = asyncio.run_coroutine_threadsafe(fetch(), self._client.loop.asyncio_loop)
        fetched.key = future.key  # type: ignore[attr-defined]
        return fetched

    def placed(self) -> dict[str, str]:
        """Which worker has what, or its result: key of a future -> address. What waits for a worker
        is not in it."""
        try:
            having = [*self._client.processing().items(), *self._client.has_what().items()]
        except OSError:
            return {}
        return {key: worker for worker, keys in having for key in keys}

    def take_back(self, futures: Collection[Any]) -> list[Any]:
        """A worker that is silent keeps what it has."""
        keys = [future.key for future in futures]
        answers = self._answers(task.cancel_unstarted, keys, limit_s=TAKE_BACK_S)
        kept = {key for told in answers.values() if isinstance(told, list) for key in told}
        silent = {worker for worker, told in answers.items() if not isinstance(told, list)}
        if silent:
            kept |= {key for key, worker in self.placed().items() if worker in silent}
        return [future for future in futures if future.key not in kept and future.cancel()]

    def ask(self, function: Callable[..., Any], *args: Any) -> dict[str, Any]:
        """``function(*args)`` once on every worker, by worker address; the first error is raised."""
        answers = self.answers(function, *args)
        for worker, answer in answers.items():
            if isinstance(answer, TimeoutError):
                raise ClusterError(f"worker {worker} does not answer: end it, and try again")
            if isinstance(answer, Exception):
                raise answer
        return answers

    def answers(self, function: Callable[..., Any], *args: Any) -> dict[str, Any]:
        """Like ``ask``, with each worker's exception as its answer. One that is silent for a minute
        holds up nobody else: its answer is a TimeoutError. One that can't be reached may be gone and
        still be listed: all are asked again until it answers or has left the list."""
        until = time.monotonic() + LEAVING_S
        while True:
            found = self._answers(function, *args)
            lost = [
                isinstance(a, OSError) and not isinstance(a, TimeoutError) for a in found.values()
            ]
            if (found and not any(lost)) or time.monotonic() > until:
                break
            time.sleep(1)
        if not found:
            raise ClusterError(
                f"all workers of {self.name} are gone, so nothing would run: start them again"
            )
        return found

    def _answers(
        self, function: Callable[..., Any], *args: Any, limit_s: float = ANSWER_S
    ) -> dict[str, Any]:
        async def one(worker: str) -> Any:
            call = self._client.run(
                worker_admission.answered, function, *args, workers=[worker], on_error="return"
            )
            try:
                return (await asyncio.wait_for(call, limit_s)).get(worker, OSError("it is gone"))
            except (TimeoutError, OSError) as error:
                return error

        async def everyone() -> dict[str, Any]:
            workers = list(await self._client.nthreads())
            found = await asyncio.gather(*map(one, workers))
            return dict(zip(workers, found, strict=True))

        return dict(self._client.sync(everyone))

    def memory_limits(self) -> dict[str, int]:
        """What Dask was told each worker may take, in bytes; 0: no limit."""
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        return {worker: int(told.get("memory_limit") or 0) for worker, told in workers.items()}

    def retire(self, worker: str, why: str) -> None:
        """Send a worker away: it gets no further task, and its process ends. What it had in hand is
        done again elsewhere."""
        self.dropped[worker] = why
        with suppress(OSError):  # if the scheduler is gone, ``alive`` will tell
            self._client.retire_workers([worker], close_workers=True)

    def _left(self, event: tuple[float, dict[str, str]]) -> None:
        self.dropped[event[1]["worker"]] = event[1]["why"]

    def introduce(self) -> None:
        """Have all workers, those that come later too, tell their host and pid."""
        from seg_batch.executors.cluster.worker_plugins import NAME_TOPIC, ReportName

        self._client.subscribe_topic(NAME_TOPIC, self._named)
        self._client.register_plugin(ReportName())
        # Those there are now may have told before the scheduler knew that we listen.
        told = self._answers(here)
        self._names |= {worker: name for worker, name in told.items() if isinstance(name, str)}

    def _named(self, event: tuple[float, dict[str, str]]) -> None:
        self._names[event[1]["worker"]] = event[1]["process"]

    def known_as(self, worker: str) -> str:
        return self._names.get(worker, worker)

    def losses(self) -> list[tuple[str, str]]:
        found = [(worker, why) for worker, why in self._losses.told() if worker not in self.dropped]
        return [(self.known_as(worker), why) for worker, why in found]

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
        """Nothing to wait for: a worker's block is written whole, or not marked."""

    def close(self) -> None:
        with _unsaid("distributed.scheduler"), suppress(OSError):
            self._client.close(timeout=2)
        if self._cluster is not None:
            end(self._cluster)


def _heard(result: asyncio.Future[Any]) -> None:
    """Of an error that nobody waits for any more asyncio would print a traceback."""
    if not result.cancelled():
        result.exception()


@contextmanager
def _unsaid(name: str) -> Iterator[None]:
    """A scheduler of this process may complain that its client has left, which is what we want."""
    log = logging.getLogger(name)
    before = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(before)


def end(cluster: Any) -> None:
    """Close a Dask cluster; one that takes too long ends with this process, and spoils nothing that is
    done (a TimeoutError is an OSError)."""
    with suppress(OSError):
        cluster.close(timeout=5)
