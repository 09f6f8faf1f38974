"""What a person sees of a night as it goes: a table on a terminal, else a line a minute.

Both are listeners (see ``batch.listen``) and show the same tally. All of it goes to standard error.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from seg_batch.executors import Outcome
from seg_batch.machine import show_bytes
from seg_batch.named import about
from seg_batch.progress import LINE_EVERY_S, show_s

RECENT_S = 300.0  # the speed is that of the last five minutes
GONE = ("lost", "dropped")  # what may befall a worker
ROWS = 12  # inputs and workers that are shown, of each


@dataclass
class Running:
    """An input in hand."""

    blocks: int
    tiles: int
    since: float
    stage: str = "segmenting"
    ended: int = 0
    counted: int = 0


@dataclass
class Tally:
    """What is known of the night from what was told. ``tiles`` and ``blocks``: (done, total)."""

    began: float
    inputs: int = 0
    done: int = 0
    partial: int = 0
    failed: int = 0
    refused: int = 0
    blocks: list[int] = field(default_factory=lambda: [0, 0])
    tiles: list[int] = field(default_factory=lambda: [0, 0])
    running: dict[str, Running] = field(default_factory=dict)
    workers: dict[str, dict[str, Any]] = field(default_factory=dict)
    first: float | None = None  # when the first input was begun
    _pace: deque[tuple[float, int]] = field(default_factory=deque)

    def planned(self, totals: dict[str, Any]) -> None:
        self.inputs = totals["inputs"]
        self.done, self.refused = totals.get("done", 0), totals.get("refused", 0)
        self.blocks, self.tiles = [0, totals.get("blocks", 0)], [0, totals.get("tiles", 0)]

    def started(self, key: str, facts: dict[str, Any], now: float) -> None:
        self.first = now if self.first is None else self.first
        self.running[key] = Running(facts.get("blocks") or 1, facts.get("tiles") or 0, now)

    def block(self, key: str, result: dict[str, Any] | None, now: float) -> None:
        one = self.running.get(key)
        if one is None:
            return
        one.ended += 1
        self.blocks[0] += 1
        # An equal share each: tiles on the border of blocks are predicted by several.
        share = round(one.tiles * min(1.0, one.ended / one.blocks)) - one.counted
        one.counted += share
        self._count(share, now)
        if result:
            self.seen(result.get("worker"), result["peak_rss_bytes"], result["tiles"], now)

    def over(self, key: str, now: float) -> Running | None:
        """An input has ended, however: what it was thought to need is no more ahead."""
        one = self.running.pop(key, None)
        if one is not None:
            self.blocks[0] += one.blocks - min(one.blocks, one.ended)
            self._count(one.tiles - one.counted, now)
        return one

    def back(self, key: str) -> None:
        """It goes back to those that wait, with all that it still needs."""
        one = self.running.pop(key, None)
        if one is not None:
            self.blocks[0] -= min(one.blocks, one.ended)
            self.tiles[0] -= one.counted

    def seen(self, worker: str | None, rss: int, tiles: int, now: float) -> None:
        if worker:
            one = self.workers.setdefault(worker, {"rss": 0, "tiles": 0})
            one["rss"], one["seen"] = max(one["rss"], rss), now
            one["tiles"] += tiles

    def _count(self, tiles: int, now: float) -> None:
        self.tiles[0] += tiles
        self._pace.append((now, tiles))
        while self._pace and now - self._pace[0][0] > RECENT_S:
            self._pace.popleft()

    def per_s(self, now: float) -> float:
        """Tiles per second of the last five minutes; 0 where nothing is known yet."""
        span = min(RECENT_S, now - (self.began if self.first is None else self.first))
        recent = sum(n for t, n in self._pace if now - t <= RECENT_S)
        return recent / span if span > 0 else 0.0

    def left_s(self, now: float) -> float:
        """Seconds; infinite where the speed is not known."""
        left, speed = self.tiles[1] - self.tiles[0], self.per_s(now)
        return max(0.0, left / speed) if speed else (0.0 if left <= 0 else math.inf)

    @property
    def waiting(self) -> int:
        ended = self.done + self.partial + self.failed + self.refused
        return max(0, self.inputs - ended - len(self.running))

    def counts(self) -> str:
        words = [f"{self.done} of {self.inputs} inputs done"]
        kinds = ("partial", "failed", "refused")
        words += [f"{n} {name}" for name in kinds if (n := getattr(self, name))]
        still = {"running": len(self.running), "waiting": self.waiting}
        return ", ".join([*words, *(f"{n} {name}" for name, n in still.items() if n)])

    def speed(self, now: float) -> str:
        blocks = f"{self.blocks[0]}/{self.blocks[1]} blocks"
        return f"{blocks}, {self.per_s(now):.3g} tiles/s, {show_s(self.left_s(now))} left"


def plain(text: str) -> str:
    """File names are anybody's: nothing that would move a terminal's cursor, and one line."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


class Board:
    """Draws a night. ``with Board(quiet) as board:`` and give it to whatever runs the night.
    ``last_line``: whether it sums up each night; else whoever runs it does."""

    def __init__(
        self, quiet: bool = False, console: Console | None = None, last_line: bool = True
    ) -> None:
        self._console = console or Console(stderr=True, highlight=False, markup=False)
        self._quiet, self._last_line = quiet, last_line
        self._guard = threading.RLock()
        self._tally = Tally(time.monotonic())
        self._pool = self._stage = ""
        self._over = threading.Event()
        self._live = Live(
            console=self._console,
            get_renderable=self._drawn,
            refresh_per_second=4,
            transient=True,
        )

    @property
    def _terminal(self) -> bool:
        return self._console.is_terminal

    def __enter__(self) -> Self:
        if not self._quiet and self._terminal:
            self._live.start()
        elif not self._quiet:
            threading.Thread(target=self._each_minute, daemon=True, name="lines").start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._live.stop()

    def _each_minute(self) -> None:
        while not self._over.wait(LINE_EVERY_S):
            with self._guard:
                tally, now = self._tally, time.monotonic()
                text = f"{tally.counts()}; {tally.speed(now)}" if tally.inputs else self._stage
            if text:
                self.say(text)

    def say(self, text: str) -> None:
        """A line that stays, above the table."""
        if not self._quiet:
            print_line(self._console, f"segbatch: {text}")

    def pool(self, name: str, workers: int, dashboard: str | None) -> None:
        where = f"; dashboard {dashboard}" if dashboard else ""
        self._pool = f"{workers} worker{'s' * (workers != 1)}, {name}{where}"
        self.say(self._pool)

    def surveyed(self, done: int, total: int) -> None:
        self._stage = f"surveyed {done} of {total} inputs"

    def planned(self, totals: dict[str, Any]) -> None:
        with self._guard:
            self._tally.planned(totals)
            self._stage = ""

    def started(self, key: str, facts: dict[str, Any]) -> None:
        with self._guard:
            self._tally.started(key, facts, time.monotonic())
        for warning in facts.get("warnings") or ():
            self.say(f"warning: {key}: {warning}")

    def stage(self, key: str, name: str) -> None:
        with self._guard:
            if one := self._tally.running.get(key):
                one.stage = name

    def block(self, key: str, outcome: Outcome) -> None:
        with self._guard:
            self._tally.block(key, outcome.result, time.monotonic())
        if outcome.error is not None:
            block = getattr(outcome.item, "name", outcome.item)
            self.say(f"{key}: block {block} failed: {outcome.error}")

    def done(self, key: str, result: dict[str, Any]) -> None:
        complete = result.get("status") == "complete"
        with self._guard:
            tally, now = self._tally, time.monotonic()
            one = tally.over(key, now)
            tally.done += complete
            tally.partial += not complete
            if one is not None and one.blocks == 1:  # else the blocks told of their workers
                tally.seen(result.get("worker"), result["peak_rss_bytes"], one.tiles, now)
        if not complete:
            first = (result.get("failures") or [{}])[0].get("error", "some blocks failed")
            self.say(f"{key}: partial result in {result.get('output')}: {first}")

    def failed(self, key: str, error: str, status: int) -> None:
        with self._guard:
            self._tally.over(key, time.monotonic())
            self._tally.refused += status == 2
            self._tally.failed += status != 2
        self.say(f"{'set aside' if status == 2 else 'failed'}: {about(key, error)}")

    def retried(self, key: str, error: str, wait_s: float) -> None:
        with self._guard:
            self._tally.back(key)
        self.say(f"tried again in {wait_s:g} s: {about(key, error)}")

    def withdrawn(self, key: str) -> None:
        with self._guard:
            self._tally.back(key)

    def worker(self, event: str, worker: str, why: str) -> None:
        with self._guard:
            if event in GONE:
                self._tally.workers.pop(worker, None)
        self.say(f"worker {worker} {event}: {why}" if event in GONE else why)

    def stopping(self, why: str) -> None:
        self._stage = f"stopping: {why}"
        self.say(self._stage)

    def ended(self, status: int, why: str) -> None:
        with self._guard:
            line = f"{self._tally.counts()}; {why}"
        if self._last_line:
            self.say(line)

    def _drawn(self) -> RenderableType:
        with self._guard:
            return drawn(self._tally, time.monotonic(), self._pool, self._stage)


def print_line(console: Console, text: str) -> None:
    """Whole, however narrow the terminal; straight to the stream where there is no table."""
    if console.is_terminal:
        console.print(plain(text), soft_wrap=True)
    else:
        print(plain(text), file=console.file or sys.stderr, flush=True)


def drawn(tally: Tally, now: float, pool: str, stage: str) -> RenderableType:
    """The table of a tally at the time ``now``."""
    parts: list[RenderableType] = [Text(f"{pool}  {show_s(now - tally.began)} since the start")]
    if not tally.inputs:
        return Group(*parts, Text(stage or "surveying the inputs"))
    done, total = tally.tiles
    bar = Table.grid(padding=(0, 1))
    bar.add_row(ProgressBar(total=max(1, total), completed=done, width=40), Text(tally.speed(now)))
    parts += [Text(tally.counts()), bar]
    if stage:
        parts.append(Text(stage))
    if tally.running:
        parts.append(_inputs(tally, now))
    if tally.workers:
        parts.append(_workers(tally, now))
    return Group(*parts)


def _inputs(tally: Tally, now: float) -> Table:
    table = Table("input", "blocks", "stage", "for", box=None, pad_edge=False)
    for key, one in list(tally.running.items())[:ROWS]:
        blocks = f"{one.ended}/{one.blocks}"
        table.add_row(Text(plain(key)), blocks, one.stage, show_s(now - one.since))
    if len(tally.running) > ROWS:
        table.add_row(f"and {len(tally.running) - ROWS} more", "", "", "")
    return table


def _workers(tally: Tally, now: float) -> Table:
    table = Table("worker", "memory, at most", "tiles", "heard of", box=None, pad_edge=False)
    named = sorted(tally.workers.items())
    for name, one in named[:ROWS]:
        memory = show_bytes(one["rss"])
        table.add_row(
            Text(plain(name)), memory, f"{one['tiles']}", f"{show_s(now - one['seen'])} ago"
        )
    if len(named) > ROWS:
        table.add_row(f"and {len(named) - ROWS} more", "", "", "")
    return table
