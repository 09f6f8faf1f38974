"""Who is told of progress. The command line draws the events, the log writes them down; nobody has to."""

from __future__ import annotations

import threading

from seg_batch.core.events import Event


class Callback:
    """Gets the events of a run, a training, an evaluation; this one does nothing. What it raises ends
    what it was told of."""

    def on(self, event: Event) -> None: ...


class Callbacks(Callback):
    """Several callbacks as one: called in their order, from any thread, never by two at once."""

    def __init__(self, *callbacks: Callback) -> None:
        self._callbacks, self._guard = callbacks, threading.RLock()

    def on(self, event: Event) -> None:
        with self._guard:
            for callback in self._callbacks:
                callback.on(event)
