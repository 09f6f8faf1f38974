"""What a person sees while a run goes on: one bar with blocks, tiles per second and time left."""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from collections.abc import Sequence
from types import TracebackType
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

from seg_batch.core.units import share_in_line, show_s
from seg_batch.executors import Outcome
from seg_batch.inference.plan import Plan

LINE_EVERY_S = 60.0


class _TilesPerSecond(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f} tiles/s" if task.speed else "")


class Bar:
    """A listener that draws on standard error; silent when that is not a terminal."""

    def __init__(self, quiet: bool = False) -> None:
        console = Console(stderr=True, highlight=False, markup=False)
        self._quiet = quiet
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[blocks]}"),
            _TilesPerSecond(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=quiet or not sys.stderr.isatty(),
        )
        self._task = self._progress.add_task("opening", total=None, blocks="")
        self._ended = self._total = 0
        self._by_block = True

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def planned(self, plan: Plan, resumed: int, warnings: tuple[str, ...]) -> None:
        if not self._quiet:
            for text in warnings:
                self._progress.console.print(f"segbatch: warning: {text}", soft_wrap=True)
        self._total, self._ended = plan.blocks, resumed
        share = (plan.blocks - resumed) / plan.blocks
        self._progress.reset(self._task, total=max(1, round(plan.tiles_predicted * share)))
        self._progress.update(self._task, description="segmenting", blocks=self._blocks())

    def _blocks(self) -> str:
        return f"{self._ended}/{self._total} blocks"

    def stage(self, name: str) -> None:
        self._progress.update(self._task, description=name)

    def tiles(self, n: int) -> None:
        """Called batch by batch where the work is done in this process."""
        self._by_block = False
        self._progress.advance(self._task, n)

    def block(self, outcome: Outcome) -> None:
        self._ended += 1
        if self._by_block and outcome.result:
            self._progress.advance(self._task, outcome.result["tiles"])
        self._progress.update(self._task, blocks=self._blocks())

    def worker(self, event: str, worker: str, why: str) -> None:
        """A worker sent away is told of; that a block is tried again is not."""
        if event == "dropped" and not self._quiet:
            self._progress.console.print(
                f"segbatch: worker {worker} was sent away: {why}", soft_wrap=True
            )


class CutBar:
    """Draws ``patches``: one step per pair."""

    def __init__(self, quiet: bool = False) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total}"),
            TimeRemainingColumn(),
            console=Console(stderr=True, highlight=False, markup=False),
            transient=True,
            disable=quiet or not sys.stderr.isatty(),
        )
        self._task = self._progress.add_task("opening", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def stage(self, name: str) -> None:
        self._progress.update(self._task, description=name)

    def planned(self, total: int) -> None:
        self._progress.update(self._task, description="cutting", total=total)

    def advanced(self, text: str) -> None:
        self._progress.update(self._task, description=text, advance=1)


class TrainBar(CutBar):
    """Draws ``train``: step, loss, best score, speed, waiting and time left, on a terminal as a bar,
    elsewhere as a line after each validation and at least each minute."""

    def __init__(self, quiet: bool = False) -> None:
        super().__init__(quiet)
        self._quiet = quiet
        self._pace = Pace()
        self._written = -LINE_EVERY_S
        self._plain = not quiet and not sys.stderr.isatty()
        self._progress.columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[left]}"),
        )
        self._progress.update(self._task, left="")

    def stage(self, name: str) -> None:
        self._progress.reset(self._task, total=None, description=name, left="")
        if self._plain:
            self._print(f"segbatch: {name}")

    def planned(self, total: int) -> None:
        self._progress.update(self._task, total=total, completed=0)

    def note(self, lines: Sequence[str]) -> None:
        """Lines to be read later: they stay."""
        for line in () if self._quiet else lines:
            self._progress.console.print(line, soft_wrap=True)

    def row(self, row: Any, steps: int, minutes: float | None, per_step: int = 0) -> None:
        """A row of the history; ``per_step``: samples in a step, for the speed."""
        pace = self._pace
        pace.add(row)
        done, left = pace.done(steps, minutes), show_s(pace.left_s(steps, minutes))
        words = pace.words(steps, per_step)
        self._progress.update(
            self._task, description=", ".join(words), total=1.0, completed=done, left=f"{left} left"
        )
        now = time.monotonic()
        if self._plain and (row.scores or now - self._written >= LINE_EVERY_S):
            self._written = now
            self._print(f"segbatch: {', '.join(words)}, {left} left")

    def _print(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class Pace:
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

    def planned(self, cases: int) -> None:
        self._progress.update(self._task, total=cases)

    def moved(self, share: float) -> None:
        self._progress.advance(self._task, share)
