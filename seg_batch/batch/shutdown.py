"""When a night ends before its inputs do: a signal, a limit of time, a full disk, too many failures.

Asked once, it begins no new block or input, and those in hand are finished. The second SIGINT or
SIGTERM ends it at once. Either way everything is on disk, and the same command goes on.
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


class Shutdown:
    """``asked`` is set once, with ``why``, and ``callback`` is told."""

    def __init__(self, callback: Callback | None = None) -> None:
        self.asked = threading.Event()
        self.why = ""
        self.fault = False  # nobody wished it
        self.callback = callback or Callback()
        self._guard = threading.Lock()
        self._signals = 0

    def ask(self, why: str, *, fault: bool = False) -> None:
        """Only the first reason counts."""
        with self._guard:
            if self.asked.is_set():
                return
            self.why, self.fault = why, fault
            self.asked.set()
        self.callback.on(events.Stopping(why))

    @contextmanager
    def watching(self, deadline: float | None = None) -> Iterator[None]:
        """Listen to signals, and to the clock: ``deadline`` in unix seconds."""
        timer = None
        if deadline is not None:
            after_s = max(0.0, deadline - time.time())
            timer = threading.Timer(after_s, self.ask, ("the time allowed is over",))
            timer.daemon = True
            timer.start()
        try:
            with _signals(self._on_signal):
                yield
        finally:
            if timer is not None:
                timer.cancel()

    def _on_signal(self, number: int, _: Any) -> None:
        self._signals += 1
        if self._signals > 1:
            raise KeyboardInterrupt
        # Not in the handler: what it tells takes locks that the interrupted code may hold.
        why = f"{signal.Signals(number).name} received"
        threading.Thread(target=self.ask, args=(why,), daemon=True).start()


@contextmanager
def _signals(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """SIGINT and SIGTERM go to ``handler``; elsewhere than in the main thread nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
