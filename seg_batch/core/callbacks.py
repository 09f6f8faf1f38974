"""What is told of a night as it goes. The command line draws it, the log writes it down; nobody has
to listen. Calls come from several threads, never two at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from seg_batch.executors import Outcome


class Listener(Protocol):
    """``key``: the input's path as the workflow gives it; ``facts`` and ``result``: as the journal's
    events "surveyed" and "done" hold them."""

    def pool(self, name: str, workers: int, dashboard: str | None) -> None: ...

    def surveyed(self, done: int, total: int) -> None: ...

    def planned(self, totals: dict[str, Any]) -> None:
        """Before the first input: ``inputs``, ``done`` (before), ``refused``, ``blocks``, ``tiles``,
        ``seconds_estimate``, of what is still to do."""

    def started(self, key: str, facts: dict[str, Any]) -> None: ...

    def stage(self, key: str, name: str) -> None: ...

    def resumed(self, key: str, blocks: int) -> None:
        """So many blocks of an input of several were on disk when it was begun."""

    def block(self, key: str, outcome: Outcome) -> None:
        """A block of an input of several has ended."""

    def done(self, key: str, result: dict[str, Any]) -> None: ...

    def failed(self, key: str, error: str, status: int, worker: str = "") -> None:
        """``status``: 2 refused, 3 failed; ``worker``: where, if that is known."""

    def retried(self, key: str, error: str, wait_s: float, worker: str = "") -> None: ...

    def withdrawn(self, key: str) -> None:
        """It was handed out, and taken back before anybody began it."""

    def worker(self, event: str, worker: str, why: str) -> None:
        """``lost`` or ``dropped``: the worker; ``straggler`` or ``retried``: a block on it."""

    def stopping(self, why: str) -> None: ...

    def ended(self, status: int, why: str) -> None: ...


class Silent:
    """The listener that does not listen."""

    def pool(self, name: str, workers: int, dashboard: str | None) -> None: ...

    def surveyed(self, done: int, total: int) -> None: ...

    def planned(self, totals: dict[str, Any]) -> None: ...

    def started(self, key: str, facts: dict[str, Any]) -> None: ...

    def stage(self, key: str, name: str) -> None: ...

    def resumed(self, key: str, blocks: int) -> None: ...

    def block(self, key: str, outcome: Outcome) -> None: ...

    def done(self, key: str, result: dict[str, Any]) -> None: ...

    def failed(self, key: str, error: str, status: int, worker: str = "") -> None: ...

    def retried(self, key: str, error: str, wait_s: float, worker: str = "") -> None: ...

    def withdrawn(self, key: str) -> None: ...

    def worker(self, event: str, worker: str, why: str) -> None: ...

    def stopping(self, why: str) -> None: ...

    def ended(self, status: int, why: str) -> None: ...


def together(*listeners: Listener) -> Listener:
    """Several listeners as one, told in their order."""
    return cast(Listener, _Together(listeners))


class _Together:
    def __init__(self, listeners: tuple[Listener, ...]) -> None:
        self._listeners = listeners

    def __getattr__(self, name: str) -> Callable[..., None]:
        methods = [getattr(listener, name) for listener in self._listeners]

        def called(*told: Any) -> None:
            for method in methods:
                method(*told)

        return called


def one_at_a_time(listener: Listener) -> Listener:
    """The listener as several threads may call it."""
    return cast(Listener, _OneAtATime(listener))


class _OneAtATime:
    def __init__(self, listener: Listener) -> None:
        self._listener, self._guard = listener, threading.RLock()

    def __getattr__(self, name: str) -> Callable[..., None]:
        method = getattr(self._listener, name)

        def called(*told: Any) -> None:
            with self._guard:
                method(*told)

        return called
