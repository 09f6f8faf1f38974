"""An early end of a run: a signal, a deadline, a full disk, too many failures.

A request to stop begins no new block or input, and finishes those that are running. A second SIGINT or
SIGTERM ends the run at once. In both cases all state is on disk, and the same command resumes the run.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from seg_batch.core import events
from seg_batch.core.callbacks import Callback

OVER = "the time allowed is over"


class Shutdown:
    """A request to stop: ``asked`` is set once, with the reason ``why``, and ``callback`` gets the
    event. ``fault``: an error caused it, not the user or a limit."""

    def __init__(self, callback: Callback | None = None) -> None:
        self.asked = threading.Event()
        self.why = ""
        self.fault = False
        self.callback = callback or Callback()
        self._guard = threading.Lock()
        self._signals = 0

    def ask(self, why: str, *, fault: bool = False) -> None:
        """Request the stop. Only the first reason counts."""
        with self._guard:
            if self.asked.is_set():
                return
            self.why, self.fault = why, fault
            self.asked.set()
        self.callback.on(events.Stopping(why))

    @contextmanager
    def watching(self, deadline: float | None = None) -> Iterator[None]:
        """Stop on SIGINT, on SIGTERM and at ``deadline`` (unix seconds)."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        with at_deadline(deadline, self.ask, OVER), on_signals(numbers, self._on_signal):
            yield

    def _on_signal(self, number: int, _: Any) -> None:
        self._signals += 1
        if self._signals > 1:
            raise KeyboardInterrupt
        # In a thread: callbacks take locks that the interrupted code may hold.
        why = f"{signal.Signals(number).name} received"
        threading.Thread(target=self.ask, args=(why,), daemon=True).start()


@contextmanager
def at_deadline(deadline: float | None, action: Callable[..., Any], *args: Any) -> Iterator[None]:
    """Call ``action`` at ``deadline`` (unix seconds; None: never) unless the block has ended."""
    timer = threading.Timer(max(0.0, (deadline or 0.0) - time.time()), action, args)
    timer.daemon = True
    if deadline is not None:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def on_signals(numbers: tuple[int, ...], handler: Callable[[int, Any], Any]) -> Iterator[None]:
    """Handle these signals within the block; outside the main thread nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
