"""Progress bars on standard error, one class per command."""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.core.text import Once
from seg_batch.core.units import share_in_line, show_s

LINE_EVERY_S = 60.0


class _TilesPerSecond(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f} tiles/s" if task.speed else "")


class _Drawn(Callback):
    """A bar with these columns for the time of a ``with`` block; none where standard error is no
    terminal. ``fields``: the first values of its columns."""

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
    """Draws ``predict``: blocks, tiles per second, time left."""

    def __init__(self, quiet: bool = False, once: Once | None = None) -> None:
        speed, since, left = _TilesPerSecond(), TimeElapsedColumn(), TimeRemainingColumn()
        blocks = TextColumn("{task.fields[blocks]}")
        super().__init__(quiet, BarColumn(), blocks, speed, since, left, blocks="")
        self._once, self._ended, self._total = once or Once(), 0, 0
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
            case events.WorkerTrouble("dropped", worker, reason):  # other kinds cause a retry only
                self._keep(f"segbatch: worker {worker} was sent away: {reason}")

    def _planned(self, plan: events.BlocksPlanned) -> None:
        for text in self._once.left(plan.warnings):
            self._keep(f"segbatch: warning: {text}")
        self._total, self._ended = plan.blocks, plan.resumed
        share = (plan.blocks - plan.resumed) / plan.blocks
        self._progress.reset(self._task, total=max(1, round(plan.tiles * share)))
        self._progress.update(self._task, description="segmenting", blocks=self._blocks())

    def _blocks(self) -> str:
        return f"{self._ended}/{self._total} blocks"


class CutBar(_Drawn):
    """Draws ``patches``: one step per pair."""

    WORKING: str | None = "cutting"  # None: the description of the last step stays

    def __init__(self, quiet: bool = False, *columns: ProgressColumn, **fields: Any) -> None:
        count = TextColumn("{task.completed:.0f}/{task.total}")
        columns = columns or (BarColumn(), count, TimeRemainingColumn())
        super().__init__(quiet, *columns, **fields)

    def on(self, event: events.Event) -> None:
        match event:
            case events.Stage(text):
                self._progress.update(self._task, description=text)
            case events.StepsPlanned(total):
                self._progress.update(self._task, description=self.WORKING, total=total)
            case events.Advanced(n, text):
                self._progress.update(self._task, description=text, advance=n)


class FetchBar(CutBar):
    """Draws ``models add``: bytes, speed, time left; on a terminal."""

    WORKING = None

    def __init__(self, quiet: bool = False) -> None:
        columns = (BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn())
        super().__init__(quiet, *columns, TimeRemainingColumn())


class TrainBar(CutBar):
    """Draws ``train``: step, loss, best score, speed, waiting and time left; on a terminal as a bar,
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
            case events.Stage(text):
                self._progress.reset(self._task, total=None, description=text, left="")
                self._print(text)
            case events.StepsPlanned(total):
                self._progress.update(self._task, total=total, completed=0)
            case _:
                super().on(event)

    def _row(self, row: events.TrainingRow) -> None:
        pace, steps, minutes = self._pace, row.steps, row.minutes
        pace.add(row)
        done, left = pace.done(steps, minutes), show_s(pace.left_s(steps, minutes))
        words = pace.words(steps, row.per_step)
        self._progress.update(
            self._task, description=", ".join(words), total=1.0, completed=done, left=f"{left} left"
        )
        now = time.monotonic()
        if row.scores or now - self._written >= LINE_EVERY_S:
            self._written = now
            self._print(f"{', '.join(words)}, {left} left")

    def _print(self, text: str) -> None:
        if self._plain:
            print(f"segbatch: {text}", file=sys.stderr, flush=True)


class TrainingPace:
    """The speed of a training and the time left, from the rows of its history.

    The speed is that of the last ``RECENT`` rows of this process: earlier ones may be those of another
    machine. The time of validations counts.
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
        """0 where it is unknown."""
        first, last = self._rows[0], self._rows[-1]
        steps, seconds = last.step - first.step, last.seconds - first.seconds
        if steps <= 0:
            steps, seconds = last.step, last.seconds
        return steps / seconds if seconds > 0 else 0.0

    def done(self, steps: int, minutes: float | None) -> float:
        """The share done, 0 to 1, by steps or by time, whichever is nearer to its end."""
        row = self._rows[-1]
        return min(1.0, max(row.step / steps, row.seconds / (minutes * 60) if minutes else 0.0))

    def left_s(self, steps: int, minutes: float | None) -> float:
        """Seconds to the nearer limit; infinite where the speed is unknown and no time is set."""
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
    """Draws ``evaluate``: the parts of cases."""

    WORKING = None
