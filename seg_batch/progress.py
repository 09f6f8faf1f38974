"""What a person sees while a run goes on: one bar with blocks, tiles per second and time left."""

from __future__ import annotations

import sys
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

from seg_batch.executors import Outcome
from seg_batch.plan import Plan


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
    """Draws ``train``: loss, score and time left. The bar is whichever limit is nearer."""

    def __init__(self, quiet: bool = False) -> None:
        super().__init__(quiet)
        self._score = ""

    def row(self, row: Any, steps: int, minutes: float | None) -> None:
        done = row.step / steps
        if minutes:
            done = max(done, row.seconds / (minutes * 60))
        if row.scores:
            self._score = f", score {row.scores['score']:.4f}"
        text = f"step {row.step}, loss {row.loss:.4f}{self._score}"
        self._progress.update(self._task, description=text, total=1000, completed=1000 * done)


class ScoreBar(CutBar):
    """Draws ``evaluate``: cases, of which each moves the bar as its parts are done."""

    def planned(self, cases: int) -> None:
        self._progress.update(self._task, total=cases)

    def moved(self, share: float) -> None:
        self._progress.advance(self._task, share)
