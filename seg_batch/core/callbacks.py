"""Callbacks for progress: the command line draws the events, the log of a run writes them down."""

from __future__ import annotations

import threading

from seg_batch.core.events import Event


class Callback:
    """Receives the events of a run, a training or an evaluation; this class ignores them. An exception
    that ``on`` raises ends the work that sent the event."""

    def on(self, event: Event) -> None: ...


class Callbacks(Callback):
    """Several callbacks as one, called in their order; thread-safe, one event at a time."""

    def __init__(self, *callbacks: Callback) -> None:
        self._callbacks, self._guard = callbacks, threading.RLock()

    def on(self, event: Event) -> None:
        with self._guard:
            for callback in self._callbacks:
                callback.on(event)
