"""The steps of a workflow, one after another: cut, train, evaluate, predict.

Each step is a verb that goes on by itself where it was cut off. What is known of them lies in the
journal of the workflow's run folder, where a step is what an input is in a night; so the same command
begins no step again whose result stands. A step that is done again has those done again that use
what it left.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from seg_batch.batch.job import BatchJob
from seg_batch.batch.journal import Journal, begin, open_run
from seg_batch.batch.journal.events import StepResult
from seg_batch.batch.resume import enter
from seg_batch.batch.run import Afterwards, Write
from seg_batch.batch.steps.commands import Bars, CommandRunners, run_command
from seg_batch.batch.steps.invalidate import invalidate
from seg_batch.batch.steps.up_to_date import StepRecord
from seg_batch.batch.summaries import file_stamp
from seg_batch.config.workflow.schema import Workflow
from seg_batch.config.workflow.steps import AnyStep, PredictStep
from seg_batch.core.errors import Exit, SegbatchError
from seg_batch.core.files import translate_os_errors as on_disk
from seg_batch.core.run_files import PAGE

OVER = "the time allowed is over"


def run_steps(
    workflow: Workflow,
    bars: Bars,
    say: Callable[[str], None],
    write: Write,
    *,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Do the steps, or what is left of them; returns what became of each.

    ``status``: 0 complete; 3 a prediction set inputs aside, or a requirement was not met, which ends
    the run; 130 stopped; else that of the step that was refused, for the reason ``why``. Raises
    ``RefusedError`` where nothing could begin, KeyboardInterrupt where the user ends it. ``bars``: who
    listens to a step; ``write``: makes the report of a run folder, of this one and of predictions'.
    """
    folder, after = Path(workflow.run_folder), Afterwards(workflow, say, write)
    with on_disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with open_run(folder, say=say) as journal:
        by = CommandRunners(workflow, bars, say, write)
        chain = _Chain(workflow, folder, journal, by, overwrite)
        try:
            told = chain.run()
        finally:  # whoever ends it wants to know, too, how far it came
            if chain.begun:
                after.report()
    after.commands(told["status"])
    return told


class _Chain:
    """The steps of one run in their order, as far as they have come."""

    def __init__(
        self,
        workflow: Workflow,
        folder: Path,
        journal: Journal,
        by: CommandRunners,
        overwrite: bool,
    ) -> None:
        self.workflow, self.folder, self.journal, self.by = workflow, folder, journal, by
        self.overwrite = overwrite
        self.deadline = workflow.limits.deadline(datetime.now())
        self.told: list[dict[str, Any]] = []
        self.begun = False

    def run(self) -> dict[str, Any]:
        enter(self.orders())
        self.record = StepRecord(self.workflow, self.folder)
        begin(self.journal, self.workflow.sha256)
        self.begun = True
        worst = 0
        for step in self.workflow.steps:
            status, why = self.step(step)
            worst = max(worst, status)
            if why:
                return self.end(status, why)
        return self.end(worst, "some inputs were set aside" if worst else "all steps are done")

    def orders(self) -> BatchJob:
        return BatchJob(
            folder=self.folder,
            fingerprint=self.workflow.sha256,
            workflow=self.workflow.to_json(),
            requests={},
            overwrite=self.overwrite,
        )

    def step(self, step: AnyStep) -> tuple[int, str]:
        """Do one step, if there is a need; returns its status, and why the run ends with it."""
        if self.is_over():
            return Exit.STOPPED, OVER
        if step.do != "predict" and self.record.stands(step):  # a night knows itself what is left
            if self.record.of(step.name).before is not None:
                self.done(step, 0.0)
            self.tell(step, "complete", 0.0, before=True)
            return 0, ""
        began = time.time()
        try:
            return self.ended(step, self.do(step), round(time.time() - began, 3))
        except SegbatchError as error:
            self.journal.append("failed", step.name, error=error.message, status=error.status)
            self.tell(step, "failed", time.time() - began)
            return error.status, f"{step.name}: {error.message}"
        except KeyboardInterrupt:
            if not self.is_over():
                self.end(Exit.STOPPED, "interrupted")
                raise
            return Exit.STOPPED, OVER

    def do(self, step: AnyStep) -> dict[str, Any]:
        """What an earlier run of ours left in the place of the result may be replaced."""
        replaced = self.overwrite or self.record.is_ours(step)
        if isinstance(step, PredictStep):
            replaced = self.overwrite and not self.record.is_same(step)
            if not self.record.is_same(step):
                invalidate(self.record.run_folder(step))
        sources, before = self.record.sources(step), list(file_stamp(str(self.record.mark(step))))
        event = self.journal.append("started", step.name, attempt=1, sources=sources, before=before)
        self.record.add(event)
        left_s = None if self.deadline is None else max(1.0, self.deadline - time.time())
        with _until(None if step.do == "predict" else self.deadline):
            return run_command(step, self.by, left_s, replaced)

    def ended(self, step: AnyStep, result: dict[str, Any], seconds: float) -> tuple[int, str]:
        status = int(result["status"])
        if status not in (Exit.COMPLETE, Exit.PARTIAL):
            self.tell(step, "stopped", seconds)
            return status, f"{step.name}: {result['why']}"
        unmet = result.get("unmet")
        self.done(step, seconds, (unmet or "some inputs were set aside") if status else "")
        self.tell(step, "partial" if status else "complete", seconds)
        return status, f"{step.name}: {unmet}; the steps after it were not begun" if unmet else ""

    def done(self, step: AnyStep, seconds: float, why: str = "") -> None:
        """``why`` it is partial."""
        outcome: StepResult = {
            "status": "partial" if why else "complete",
            "why": why,
            "output": str(self.record.mark(step)),
            "product": self.record.product(step),
            "seconds": seconds,
        }
        self.record.add(self.journal.append("done", step.name, outcome=outcome))

    def is_over(self) -> bool:
        return self.deadline is not None and time.time() >= self.deadline

    def tell(self, step: AnyStep, status: str, seconds: float, before: bool = False) -> None:
        told = {"name": step.name, "do": step.do, "status": status, "before": before}
        self.told.append({**told, "output": step.result, "seconds": round(seconds, 3)})

    def end(self, status: int, why: str) -> dict[str, Any]:
        self.journal.append("ended", status=status, why=why)
        names = {one["name"] for one in self.told}
        return {
            "status": status,
            "why": why,
            "run": str(self.folder),
            "steps": self.told,
            "left": [step.name for step in self.workflow.steps if step.name not in names],
            "report": str(self.folder / PAGE),
        }


@contextmanager
def _until(deadline: float | None) -> Iterator[None]:
    """A signal to this process at the deadline, as if somebody wanted it to end: a training stops
    between two steps, other verbs at once; all of them go on later."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    after_s = 0.0 if deadline is None else max(0.0, deadline - time.time())
    timer = threading.Timer(after_s, os.kill, (os.getpid(), signal.SIGTERM))
    timer.daemon = True
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    if deadline is not None:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
        signal.signal(signal.SIGTERM, before)
