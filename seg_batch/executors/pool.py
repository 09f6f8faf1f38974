"""Where functions run: the protocol of a pool, and the threads of this process as one."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from seg_batch.executors.faults import Fault
from seg_batch.executors.worker_health import Health

HERE = "this process"  # as a worker
IN_FLIGHT = 2  # items at once in every process, so that reading, model and writing overlap


class Pool(Protocol):
    """Where functions run. ``workers``: processes; ``window``: futures in flight at most;
    ``inline``: whether it is this very process; ``ask`` calls a function once in every process, and
    ``answers`` gives exceptions as answers; ``drain`` ends what is still running; ``retire`` sends a
    worker away for good. ``advice``: lines for the user; ``dashboard``: its address, if there is one;
    ``dropped``: workers sent away, with the reason. ``submit`` uses a worker in
    ``avoid`` only where there is no other; ``placed`` tells which worker has what, by ``future.key``.
    ``health``: who fails and who succeeds. ``take_back`` cancels those of the futures that nobody has
    begun, and returns them. ``losses``: workers that died since it was last asked,
    with the reason; ``known_as``: what people call a worker, host:pid where it has told.
    ``workers`` and ``window`` may change."""

    name: str
    inline: bool
    advice: tuple[str, ...]
    dashboard: str | None
    dropped: dict[str, str]
    health: Health

    @property
    def workers(self) -> int: ...

    @property
    def window(self) -> int: ...

    def submit(
        self, function: Callable[..., Any], *args: Any, avoid: Collection[str] = ()
    ) -> Any: ...

    def placed(self) -> dict[str, str]: ...

    def take_back(self, futures: Collection[Any]) -> list[Any]: ...

    def ask(self, function: Callable[..., Any], *args: Any) -> dict[str, Any]: ...

    def answers(self, function: Callable[..., Any], *args: Any) -> dict[str, Any]: ...

    def memory_limits(self) -> dict[str, int]: ...

    def workers_now(self) -> tuple[str, ...]: ...

    def retire(self, worker: str, why: str) -> None: ...

    def known_as(self, worker: str) -> str: ...

    def losses(self) -> list[tuple[str, str]]: ...

    def alive(self) -> bool: ...

    def drain(self) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """What became of one item: its result, or the error of its last try."""

    item: Any
    result: Any = None
    error: BaseException | None = None
    worker: str = ""  # who did it, or tried last; "": lost
    attempt: int = 1  # how often it was tried
    fault: Fault | None = None  # what was behind the error where it was raised


class InlinePool:
    """Threads of this process: one reads or writes while another has the model."""

    name, inline, workers = "inline", True, 1
    advice: tuple[str, ...] = ()
    dashboard: str | None = None

    def __init__(self, threads: int = IN_FLIGHT) -> None:
        self.window = threads
        self.dropped: dict[str, str] = {}
        self.health = Health()
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="segbatch")

    def submit(self, function: Callable[..., Any], *args: Any, avoid: Collection[str] = ()) -> Any:
        return self._threads.submit(function, *args)

    def placed(self) -> dict[str, str]:
        """Nothing is ever elsewhere than here."""
        return {}

    def take_back(self, futures: Collection[Any]) -> list[Any]:
        return [future for future in futures if future.cancel()]

    def ask(self, function: Callable[..., Any], *args: Any) -> dict[str, Any]:
        return {HERE: function(*args)}

    def answers(self, function: Callable[..., Any], *args: Any) -> dict[str, Any]:
        try:
            return self.ask(function, *args)
        except Exception as error:
            return {HERE: error}

    def memory_limits(self) -> dict[str, int]:
        return {}

    def workers_now(self) -> tuple[str, ...]:
        return (HERE,)

    def retire(self, worker: str, why: str) -> None:
        """This process can't be sent away: it has nobody else to give its work to."""

    def known_as(self, worker: str) -> str:
        return worker

    def losses(self) -> list[tuple[str, str]]:
        return []

    def alive(self) -> bool:
        return True

    def drain(self) -> None:
        """What waits is dropped, what runs is waited for; then there may be more to do."""
        self.close()
        self._threads = ThreadPoolExecutor(self.window, thread_name_prefix="segbatch")

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)
