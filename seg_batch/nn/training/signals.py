"""SIGINT and SIGTERM as a flag, so that a training stops between two steps, not within one."""

import signal
import threading
from types import FrameType
from typing import Any, Self


class Interrupt:
    """Within the context the first signal only sets `asked`; a second one is a KeyboardInterrupt.

    Outside of the main thread, where Python can't set handlers, it does nothing.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.signal(s, self._note) for s in self.SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
