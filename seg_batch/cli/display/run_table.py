"""The progress of a run on standard error: a table on a terminal, else a line each minute.

Both show the tally of the events (see ``core.callbacks``).
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from typing import Self

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.measure import Measurement
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from seg_batch.cli.display.bars import LINE_EVERY_S
from seg_batch.cli.display.tally import GONE, Tally
from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import Exit
from seg_batch.core.text import Once, about, visible
from seg_batch.core.units import counted_plainly, plain_s, show_bytes, show_s

ROWS = 12  # the most inputs, and the most workers, that are shown
NAME = 16  # the fewest columns of a name


class RunTable(Callback):
    """Draws a run: ``with RunTable(quiet) as table:``, the table being the callback of the run.
    ``last_line``: whether it prints a line of counts at the end of each run."""

    def __init__(
        self, quiet: bool = False, console: Console | None = None, last_line: bool = True
    ) -> None:
        self._console = console or Console(stderr=True, highlight=False, markup=False)
        self._terminal = self._console.is_terminal
        self._quiet, self._last_line = quiet, last_line
        self._guard = threading.RLock()
        self._began = time.monotonic()
        self._tally = Tally(self._began)
        self._pool = self._idle = self._halt = ""
        self._stage = "starting the workers"
        self._once = Once()
        self._retried: set[str] = set()  # inputs whose warnings were shown before
        self._over = threading.Event()
        self._live = Live(
            console=self._console,
            get_renderable=self._drawn,
            refresh_per_second=4,
            transient=True,
        )

    def __enter__(self) -> Self:
        if not self._quiet and self._terminal:
            self._live.start()
        elif not self._quiet:
            threading.Thread(target=self._each_minute, daemon=True, name="lines").start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._live.stop()
        if self._idle and self._terminal:  # the table itself is gone
            self.say(self._idle)

    def _each_minute(self) -> None:
        while not self._over.wait(LINE_EVERY_S):
            with self._guard:
                tally, now = self._tally, time.monotonic()
                text = f"{tally.counts()}; {tally.speed(now)}" if tally.inputs else self._stage
                idle = not tally.inputs and self._idle
            if text and not idle:
                self.say(text)

    def say(self, text: str) -> None:
        """Print a line that stays above the table, whole on a narrow terminal too."""
        if self._quiet:
            return
        line = visible(f"segbatch: {text}")
        if self._terminal:
            self._console.print(line, soft_wrap=True)
        else:
            print(line, file=self._console.file or sys.stderr, flush=True)

    def on(self, event: events.Event) -> None:
        with self._guard:
            self._tally.take(event, time.monotonic())
            lines = self._take(event)
        for line in lines:  # outside the guard: the console draws the table under a lock of its own
            self.say(line)

    def _take(self, event: events.Event) -> list[str]:
        """Update what is shown around the tally; returns the lines that stay."""
        match event:
            case events.PoolOpened():
                return self._opened(event)
            case events.Surveyed(done, total):
                self._stage = f"surveyed {done} of {total} inputs"
            case events.RunPlanned():
                self._stage = ""
            case events.InputStarted(key, facts) if key not in self._retried:
                texts = self._once.left(facts.get("warnings") or ())
                return [f"warning: {key}: {text}" for text in texts]
            case events.InputRetried(key):
                self._retried.add(key)
            case events.Stopping(why):
                self._halt = self._stage = f"stopping: {why}"
            case events.RunEnded(status, why):
                return self._ended(status, why)
            case events.Idle(text):
                return self._now_idle(text)
        return [line] if (line := line_of(event)) else []

    def _opened(self, event: events.PoolOpened) -> list[str]:
        where = f"; dashboard {event.dashboard}" if event.dashboard else ""
        text = f"{counted_plainly(event.workers, 'worker')}, {event.pool}{where}"
        before, self._pool = self._pool, text
        self._stage = "surveying the inputs"
        return [] if text == before else [text]  # else an earlier run has shown it

    def _ended(self, status: int, why: str) -> list[str]:
        tally, self._tally = self._tally, Tally(time.monotonic())
        tally.running.clear()  # interrupted inputs wait for the next run
        counts = tally.counts()
        self._stage = self._idle or f"{counts}; closing the workers"
        if not (self._last_line and tally.inputs):
            return []
        return [counts if status in (Exit.COMPLETE, Exit.PARTIAL) else f"{counts}; {why}"]

    def _now_idle(self, text: str) -> list[str]:
        self._tally = Tally(time.monotonic())
        before, self._idle = self._idle, text
        self._stage = f"{text}; {self._halt}" if self._halt else text
        return [] if text == before or self._terminal else [text]

    def _drawn(self) -> RenderableType:
        with self._guard:
            since = f"{show_s(time.monotonic() - self._began)} since the start"
            return table_of(self._tally, time.monotonic(), self._stage, since)


def line_of(event: events.Event) -> str:
    """The line that an event leaves above the table; empty: none."""
    match event:
        case events.BlockEnded(block, error=error, key=key) if error is not None:
            return f"{key}: block {block} failed: {error}"
        case events.InputDone(key, {"status": "complete", "review": [reason, *_]}):
            return f"to review: {key}: {reason}"
        case events.InputDone(key, result) if result.get("status") != "complete":
            first = (result.get("failures") or [{}])[0].get("error", "some blocks failed")
            return f"{key}: partial result in {result.get('output')}: {first}"
        case events.InputFailed(key, error, status):
            return f"{'refused' if status == 2 else 'failed'}: {about(key, error)}"
        case events.InputRetried(key, error, wait_s):
            when = f"in {plain_s(wait_s)}" if wait_s else "at once"
            return f"tried again {when}: {about(key, error)}"
        case events.WorkerTrouble(kind, worker, why):
            return f"worker {worker} {kind}: {why}" if kind in GONE else why
        case events.Stopping(why):
            return f"stopping: {why}"
    return ""


def table_of(tally: Tally, now: float, stage: str, since: str) -> RenderableType:
    """The table of a tally at the time ``now``."""
    if not tally.inputs:
        return Text(f"{visible(stage)}; {since}")
    done, total = tally.tiles
    bar = Table.grid(Column(ratio=1), Column(no_wrap=True), padding=(0, 1))
    bar.add_row(ProgressBar(total=max(1, total), completed=done, width=40), Text(tally.speed(now)))
    parts: list[RenderableType] = [Text(f"{tally.counts()}; {since}"), bar]
    if stage and not tally.stopping:  # the bar shows that, and the line above the table
        parts.append(Text(visible(stage)))
    if tally.running:
        rows = [
            (tally.short(key), f"{item.ended}/{item.blocks}", item.stage, show_s(now - item.since))
            for key, item in tally.running.items()
        ]
        parts.append(_table(("input", "blocks", "stage", "for"), rows))
    if tally.workers:
        rows = [
            (name, show_bytes(w["rss"]), f"{w['tiles']}", f"{show_s(now - w['seen'])} ago")
            for name, w in sorted(tally.workers.items())
        ]
        parts.append(_table(("worker", "memory, at most", "tiles", "heard of"), rows))
    return Group(*parts)


def _table(titles: Sequence[str], rows: list[tuple[str, str, str, str]]) -> Table:
    """The first ``ROWS`` rows. Only names give way where the terminal is narrow."""
    columns = [Column(title, no_wrap=i > 0) for i, title in enumerate(titles)]
    table = Table(*columns, box=None, pad_edge=False)
    for name, *cells in rows[:ROWS]:
        table.add_row(_Name(name), *cells)
    if len(rows) > ROWS:
        table.add_row(f"and {len(rows) - ROWS} more")
    return table


class _Name:
    """A printable name, cut at its front: names of files differ at the end."""

    def __init__(self, name: str) -> None:
        self._name = visible(name)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        whole = cell_len(self._name)
        return Measurement(min(NAME, whole), whole).with_maximum(options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        name, width = self._name, options.max_width
        if cell_len(name) > width:
            name = "\N{HORIZONTAL ELLIPSIS}" + set_cell_size(name[::-1], width - 1)[::-1]
        yield Text(name, no_wrap=True)
