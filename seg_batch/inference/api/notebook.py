"""Progress in a notebook: one line that is drawn anew, with the time left."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from html import escape
from typing import Any

from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.core.units import share_in_line

_EVERY_S = 0.2
_WORDS = 120


class Bar(Callback):
    """Draws the events of one prediction as HTML; ``show`` gets the text of each drawing, the last one when all blocks ended."""

    def __init__(
        self, show: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._show, self._clock = show, clock
        self._begun, self._drawn = clock(), -_EVERY_S
        self._blocks, self._ended, self._resumed = 0, 0, 0
        self._tiles, self._tiles_done, self._stage = 0, 0.0, "planning"

    def on(self, event: events.Event) -> None:
        if isinstance(event, events.BlocksPlanned):
            self._blocks, self._resumed, self._tiles = event.blocks, event.resumed, event.tiles
            self._begun, self._stage = self._clock(), "predicting"
        elif isinstance(event, events.Advanced):
            self._tiles_done += event.n
        elif isinstance(event, events.BlockEnded):
            self._ended += 1
        elif isinstance(event, events.Stage):
            self._stage = event.text
        else:
            return
        now = self._clock()
        if now - self._drawn >= _EVERY_S or not isinstance(event, events.Advanced):
            self._drawn = now
            self._show(self._line(now))

    def share(self) -> float:
        """How much is done, from 0 to 1; of blocks that are at work their tiles count, where they are known."""
        if not self._blocks:
            return 0.0
        todo = self._blocks - self._resumed
        by_tiles = min(1.0, self._tiles_done / self._tiles) if self._tiles else 0.0
        by_blocks = self._ended / todo if todo else 1.0
        return (self._resumed + todo * max(by_tiles, by_blocks)) / self._blocks

    def _line(self, now: float) -> str:
        share, own = self.share(), self.share() - self._resumed / max(self._blocks, 1)
        left = ""
        if own > 0 and share < 1:
            left = f", {_time((now - self._begun) / own * (1 - share))} left"
        done = (
            f"{self._resumed + self._ended} of {self._blocks} blocks{left}" if self._blocks else ""
        )
        stage = escape(self._stage[:_WORDS])
        return f'<div><progress value="{share:.4f}" max="1"></progress> {share_in_line(share, 0)} {done} ({stage})</div>'


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes} min"
        if hours
        else f"{minutes} min {rest} s"
        if minutes
        else f"{rest} s"
    )


def notebook_bar() -> Bar | None:
    """A bar below the cell that is running; None where none is, or where IPython runs in a terminal."""
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if getattr(shell, "kernel", None) is None:
        return None
    display: Any = importlib.import_module("IPython.display")
    handle = display.display(display.HTML(""), display_id=True)
    return Bar(lambda text: handle.update(display.HTML(text)))
