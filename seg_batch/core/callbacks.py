"""Callbacks for progress: the command line draws the events, the log of a run writes them down."""

from __future__ import annotations

import threading

from seg_batch.core.events import Event


class Callback:
    """Receives the events of a run, a training or an evaluation; this class ignores them.

    Calls come from several threads, never two at once. An exception that ``on`` raises ends the work
    that sent the event.
    """

    def on(self, event: Event) -> None: ...


class Callbacks(Callback):
    """Several callbacks as one, called in their order; thread-safe, one event at a time.

    TypeError for an object that is no callback; None is left out.
    """

    def __init__(self, *callbacks: Callback | None) -> None:
        self._callbacks = [callback for callback in callbacks if callback is not None]
        self._guard = threading.RLock()
        for callback in self._callbacks:
            if not callable(getattr(callback, "on", None)):
                raise TypeError(
                    f"{callback!r} is no callback, and would fail in the middle of the work: derive a "
                    "class from seg_batch.Callback and define its on(event)"
                )

    def on(self, event: Event) -> None:
        with self._guard:
            for callback in self._callbacks:
                callback.on(event)
