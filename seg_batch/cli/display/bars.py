"""What a person sees while a run goes on: one bar with blocks, tiles per second and time left."""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.core.units import share_in_line, show_s

LINE_EVERY_S = 60.0


class _TilesPerSecond(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f} tiles/s" if task.speed else "")


class _Drawn(Callback):
    """A bar with these columns on standard error, while the block lasts; nothing when that is not a
    terminal. ``fields``: what its columns show at first."""

    def __init__(self, quiet: bool, *columns: ProgressColumn, **fields: Any) -> None:
        self._quiet = quiet
        self._progress = Progress(
            TextColumn("{task.description}"),
            *columns,
            console=Console(stderr=True, highlight=False, markup=False),
            transient=True,
            disable=quiet or not sys.stderr.isatty(),
        )
        self._task = self._progress.add_task("opening", total=None, **fields)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def _keep(self, line: str) -> None:
        """Print a line that stays."""
        if not self._quiet:
            self._progress.console.print(line, soft_wrap=True)


class Bar(_Drawn):
    """Draws ``predict``."""

    def __init__(self, quiet: bool = False) -> None:
        speed, since, left = _TilesPerSecond(), TimeElapsedColumn(), TimeRemainingColumn()
        blocks = TextColumn("{task.fields[blocks]}")
        super().__init__(quiet, BarColumn(), blocks, speed, since, left, blocks="")
        self._ended = self._total = 0
        self._by_block = True

    def on(self, event: events.Event) -> None:
        match event:
            case events.BlocksPlanned():
                self._planned(event)
            case events.Stage(text):
                self._progress.update(self._task, description=text)
            case events.Advanced(n):
                self._by_block = False
                self._progress.advance(self._task, n)
            case events.BlockEnded(receipt=receipt):
                self._ended += 1
                if self._by_block and receipt:
                    self._progress.advance(self._task, receipt["tiles"])
                self._progress.update(self._task, blocks=self._blocks())
            case events.WorkerTrouble("dropped", worker, why):  # not that a block is tried again
                self._keep(f"segbatch: worker {worker} was sent away: {why}")

    def _planned(self, plan: events.BlocksPlanned) -> None:
        for text in plan.warnings:
            self._keep(f"segbatch: warning: {text}")
        self._total, self._ended = plan.blocks, plan.resumed
        share = (plan.blocks - plan.resumed) / plan.blocks
        self._progress.reset(self._task, total=max(1, round(plan.tiles * share)))
        self._progress.update(self._task, description="segmenting", blocks=self._blocks())

    def _blocks(self) -> str:
        return f"{self._ended}/{self._total} blocks"


class CutBar(_Drawn):
    """Draws ``patches``: one step per pair."""

    def __init__(self, quiet: bool = False, *columns: ProgressColumn, **fields: Any) -> None:
        count = TextColumn("{task.completed:.0f}/{task.total}")
        columns = columns or (BarColumn(), count, TimeRemainingColumn())
        super().__init__(quiet, *columns, **fields)

    def on(self, event: events.Event) -> None:
        match event:
            case events.Stage(text):
                self._begin(text)
            case events.StepsPlanned(total):
                self._planned(total)
            case events.Advanced(n, text):
                self._progress.update(self._task, description=text, advance=n)

    def _begin(self, stage: str) -> None:
        self._progress.update(self._task, description=stage)

    def _planned(self, total: int) -> None:
        self._progress.update(self._task, description="cutting", total=total)


class TrainBar(CutBar):
    """Draws ``train``: step, loss, best score, speed, waiting and time left, on a terminal as a bar,
    elsewhere as a line after each validation and at least each minute."""

    def __init__(self, quiet: bool = False) -> None:
        super().__init__(quiet, BarColumn(bar_width=20), TextColumn("{task.fields[left]}"), left="")
        self._pace = TrainingPace()
        self._written = -LINE_EVERY_S
        self._plain = not quiet and not sys.stderr.isatty()

    def on(self, event: events.Event) -> None:
        match event:
            case events.Noted(lines):
                for line in lines:
                    self._keep(line)
            case events.TrainingRow():
                self._row(event)
            case _:
                super().on(event)

    def _begin(self, stage: str) -> None:
        self._progress.reset(self._task, total=None, description=stage, left="")
        if self._plain:
            self._print(f"segbatch: {stage}")

    def _planned(self, total: int) -> None:
        self._progress.update(self._task, total=total, completed=0)

    def _row(self, row: events.TrainingRow) -> None:
        pace, steps, minutes = self._pace, row.steps, row.minutes
        pace.add(row)
        done, left = pace.done(steps, minutes), show_s(pace.left_s(steps, minutes))
        words = pace.words(steps, row.per_step)
        self._progress.update(
            self._task, description=", ".join(words), total=1.0, completed=done, left=f"{left} left"
        )
        now = time.monotonic()
        if self._plain and (row.scores or now - self._written >= LINE_EVERY_S):
            self._written = now
            self._print(f"segbatch: {', '.join(words)}, {left} left")

    def _print(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class TrainingPace:
    """How fast a training goes and how long it will take, from the rows of its history.

    The speed is that of the last ``RECENT`` rows of this process: what was done before a kill, on
    what may have been another machine, says nothing. Validations are part of the time.
    """

    RECENT = 20

    def __init__(self) -> None:
        self._rows: deque[Any] = deque(maxlen=self.RECENT + 1)
        self.best: tuple[float, int] | None = None

    def add(self, row: Any) -> None:
        self._rows.append(row)
        score = (row.scores or {}).get("score")
        if score is not None and (self.best is None or score > self.best[0]):
            self.best = score, row.step

    @property
    def steps_per_s(self) -> float:
        """0 where nothing is known yet."""
        first, last = self._rows[0], self._rows[-1]
        steps, seconds = last.step - first.step, last.seconds - first.seconds
        if steps <= 0:
            steps, seconds = last.step, last.seconds
        return steps / seconds if seconds > 0 else 0.0

    def done(self, steps: int, minutes: float | None) -> float:
        """0 to 1: by steps or by time, whichever is nearer to its end."""
        row = self._rows[-1]
        return min(1.0, max(row.step / steps, row.seconds / (minutes * 60) if minutes else 0.0))

    def left_s(self, steps: int, minutes: float | None) -> float:
        """Seconds to the nearer limit; infinite where the speed is not known and no time is set."""
        row, speed = self._rows[-1], self.steps_per_s
        by_steps = (steps - row.step) / speed if speed else math.inf
        by_time = minutes * 60 - row.seconds if minutes else math.inf
        return max(0.0, min(by_steps, by_time))

    def words(self, steps: int, per_step: int) -> list[str]:
        row = self._rows[-1]
        words = [f"step {row.step}/{steps}", f"loss {row.loss:.4f}"]
        if self.best is not None:
            words.append(f"best {self.best[0]:.4f} at {self.best[1]}")
        if self.steps_per_s:
            rate = self.steps_per_s * (per_step or 1)
            words.append(f"{rate:.3g} {'samples' if per_step else 'steps'}/s")
        return [*words, f"waiting {share_in_line(row.wait, 0)}"]


class ScoreBar(CutBar):
    """Draws ``evaluate``: cases, of which each moves the bar as its parts are done."""

    def _planned(self, total: int) -> None:
        self._progress.update(self._task, total=total)
