"""Where functions run: the interface of a pool, and the pool of this process's threads."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from seg_batch.core.errors import ClusterError
from seg_batch.executors.faults import Fault
from seg_batch.executors.worker_health import Health

HERE = "this process"  # as a worker
IN_FLIGHT = 2  # items at once in every process, so that reading, model and writing overlap


class Pool(Protocol):
    """Workers that run functions. A method with a body is that of a pool without remote workers.

    ``workers`` (processes) and ``window`` (futures in flight, at most) may change at any time.
    ``inline``: the only worker is this process. ``advice``: lines for the user. ``dashboard``: the
    address of its pages, if there are any. ``dropped``: the workers sent away, with the reason.
    """

    name: str
    inline: bool = False
    advice: tuple[str, ...] = ()
    dashboard: str | None = None
    dropped: dict[str, str]
    health: Health

    @property
    def workers(self) -> int: ...

    @property
    def window(self) -> int: ...

    def submit(self, function: Callable[..., Any], *args: Any, avoid: Collection[str] = ()) -> Any:
        """A future of ``function(*args)``; on a worker in ``avoid`` only where there is no other."""

    def take_back(self, futures: Collection[Any]) -> list[Any]:
        """Cancel those futures that no worker has started, and return them."""
        return [future for future in futures if future.cancel()]

    def placed(self) -> dict[str, str]:
        """Which worker has which task, or its result: ``future.key`` -> worker."""
        return {}

    def answers(self, function: Callable[..., Any], *args: Any) -> dict[str, Any]:
        """``function(*args)`` once in every process: worker -> its result, or its exception."""
        ...

    def ask(self, function: Callable[..., Any], *args: Any) -> dict[str, Any]:
        """Like ``answers``, but the first exception is raised; ClusterError for a worker that does not
        answer."""
        answers = self.answers(function, *args)
        for worker, answer in answers.items():
            if isinstance(answer, TimeoutError):
                raise ClusterError(f"worker {worker} does not answer: end it, and try again")
            if isinstance(answer, Exception):
                raise answer
        return answers

    def memory_limits(self) -> dict[str, int]:
        """Bytes that each worker may take; 0: no limit."""
        return {}

    def workers_now(self) -> tuple[str, ...]:
        """The names of the workers there are now."""
        return (HERE,)

    def retire(self, worker: str, why: str) -> None:
        """Send a worker away for good. A pool of one process has no other to give the work to."""
        return

    def known_as(self, worker: str) -> str:
        """The name to show to people: host:pid where the worker has reported it."""
        return worker

    def losses(self) -> list[tuple[str, str]]:
        """Workers that died since the last call, with the reason."""
        return []

    def alive(self) -> bool:
        """Whether anything can still run."""
        return True

    def drain(self) -> None:
        """End what is still running; the pool can be used again."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """The end of one item: its result, or the error of its last try."""

    item: Any
    result: Any = None
    error: BaseException | None = None
    worker: str = ""  # of the last try; "": unknown, since it was lost
    attempt: int = 1  # the number of tries
    fault: Fault | None = None  # the kind of error, judged where it was raised


class InlinePool(Pool):
    """Threads of this process: one reads or writes while another has the model."""

    name, inline, workers, window = "inline", True, 1, IN_FLIGHT

    def __init__(self, threads: int = IN_FLIGHT) -> None:
        self.window = threads
        self.dropped: dict[str, str] = {}
        self.health = Health()
        self._threads = self._new_threads()

    def _new_threads(self) -> ThreadPoolExecutor:
        """So many that ``window`` holds for all who share the pool together."""
        return ThreadPoolExecutor(self.window, thread_name_prefix="segbatch")

    def submit(self, function: Callable[..., Any], *args: Any, avoid: Collection[str] = ()) -> Any:
        return self._threads.submit(function, *args)

    def answers(self, function: Callable[..., Any], *args: Any) -> dict[str, Any]:
        try:
            return {HERE: function(*args)}
        except Exception as error:
            return {HERE: error}

    def drain(self) -> None:
        """Drops what waits, and waits for what runs."""
        self.close()
        self._threads = self._new_threads()

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)
