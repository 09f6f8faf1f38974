"""Where functions run: the protocol of a pool, and the threads of this process as one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

IN_FLIGHT = 2  # items at once in every process, so that reading, model and writing overlap


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
