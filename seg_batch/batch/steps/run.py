"""The steps of a workflow, one after another: cut, train, evaluate, predict.

Each step is a command that resumes its own work. The journal of the workflow's run folder records
the steps as it records the inputs of a prediction, so the same command does only the steps whose
results are not up to date. A step that is done again has those done again that use its result.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from seg_batch.batch.job import BatchJob, told_settings
from seg_batch.batch.journal import Journal, begin, open_run
from seg_batch.batch.journal.events import StepResult
from seg_batch.batch.resume import prepare_folder
from seg_batch.batch.run import Afterwards, Write
from seg_batch.batch.shutdown import OVER, at_deadline, on_signals
from seg_batch.batch.steps.commands import Bars, CommandRunners, run_command
from seg_batch.batch.steps.up_to_date import StepRecord, invalidate
from seg_batch.batch.summaries import file_stamp
from seg_batch.config.workflow.schema import Workflow
from seg_batch.config.workflow.steps import AnyStep, PredictStep
from seg_batch.core.errors import Exit, SegbatchError
from seg_batch.core.files import translate_os_errors as on_disk
from seg_batch.core.run_files import PAGE


def run_steps(
    workflow: Workflow,
    bars: Bars,
    say: Callable[[str], None],
    write: Write,
    *,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Do the steps that are not up to date; returns the outcome of each.

    ``status``: 0 complete; 3 a prediction has quarantined inputs, or a requirement was not met, which
    ends the run; 130 stopped; else that of the refused step, with the reason ``why``. Raises
    ``RefusedError`` where nothing could begin, KeyboardInterrupt where the user ends it. ``bars``: the
    callback for a command; ``write``: writes the report of a run folder, of this run and of predictions.
    """
    folder, after = Path(workflow.run_folder), Afterwards(workflow, say, write)
    with on_disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with open_run(folder, say=say) as journal:
        by = CommandRunners(workflow, bars, say, write)
        chain = _Chain(workflow, folder, journal, by, overwrite)
        try:
            outcome = chain.run()
        finally:  # also after an interrupt: the report says how far the run came
            if chain.begun:
                after.report()
    after.commands(outcome["status"])
    return outcome


class _Chain:
    """The steps of one run in their order, with the outcomes so far."""

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
        self.outcomes: list[dict[str, Any]] = []
        self.begun = False

    def run(self) -> dict[str, Any]:
        sha256, plain = self.workflow.sha256, told_settings(self.workflow)
        prepare_folder(BatchJob(self.folder, sha256, plain, requests={}, overwrite=self.overwrite))
        self.record = StepRecord(self.workflow, self.folder)
        begin(self.journal, sha256)
        self.begun = True
        worst = 0
        for step in self.workflow.steps:
            status, why = self.step(step)
            worst = max(worst, status)
            if why:
                return self.end(status, why)
        return self.end(worst, "some inputs were set aside" if worst else "all steps are done")

    def step(self, step: AnyStep) -> tuple[int, str]:
        """Do one step unless it is up to date; returns its status, and why the run ends with it."""
        if self.is_over():
            return Exit.STOPPED, OVER
        # A prediction is always entered: it checks each of its inputs itself.
        if step.do != "predict" and self.record.is_up_to_date(step):
            if self.record.of(step.name).before is not None:
                self.done(step, 0.0)
            self.add_outcome(step, "complete", 0.0, before=True)
            return 0, ""
        began = time.time()
        try:
            return self.ended(step, self.do(step), round(time.time() - began, 3))
        except SegbatchError as error:
            self.journal.append("failed", step.name, error=error.message, status=error.status)
            self.add_outcome(step, "failed", time.time() - began)
            return error.status, f"{step.name}: {error.message}"
        except KeyboardInterrupt:
            if not self.is_over():
                self.end(Exit.STOPPED, "interrupted")
                raise
            return Exit.STOPPED, OVER

    def do(self, step: AnyStep) -> dict[str, Any]:
        """Run the command; it may replace a result of an earlier run of this workflow."""
        replaced = self.overwrite or self.record.is_ours(step)
        if isinstance(step, PredictStep):
            replaced = self.overwrite and not self.record.is_same(step)
            if not self.record.is_same(step):
                invalidate(self.record.run_folder(step))
        sources, before = self.record.sources(step), list(file_stamp(str(self.record.mark(step))))
        event = self.journal.append("started", step.name, attempt=1, sources=sources, before=before)
        self.record.add(event)
        left_s = None if self.deadline is None else max(1.0, self.deadline - time.time())
        # At the deadline SIGTERM is sent to this process: a training stops between two steps, other
        # commands at once, and all of them can be resumed. A prediction has its own deadline.
        timed = step.do != "predict" and threading.current_thread() is threading.main_thread()
        with (
            on_signals((signal.SIGTERM,), signal.default_int_handler),
            at_deadline(self.deadline if timed else None, os.kill, os.getpid(), signal.SIGTERM),
        ):
            return run_command(step, self.by, left_s, replaced)

    def ended(self, step: AnyStep, result: dict[str, Any], seconds: float) -> tuple[int, str]:
        status = int(result["status"])
        if status not in (Exit.COMPLETE, Exit.PARTIAL):
            self.add_outcome(step, "stopped", seconds)
            return status, f"{step.name}: {result['why']}"
        unmet = result.get("unmet")
        self.done(step, seconds, (unmet or "some inputs were set aside") if status else "")
        self.add_outcome(step, "partial" if status else "complete", seconds)
        return status, f"{step.name}: {unmet}; the steps after it were not begun" if unmet else ""

    def done(self, step: AnyStep, seconds: float, why: str = "") -> None:
        """Record that a step is done; ``why``: the reason where it is partial."""
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

    def add_outcome(self, step: AnyStep, status: str, seconds: float, before: bool = False) -> None:
        outcome = {"name": step.name, "do": step.do, "status": status, "before": before}
        self.outcomes.append({**outcome, "output": step.result, "seconds": round(seconds, 3)})

    def end(self, status: int, why: str) -> dict[str, Any]:
        self.journal.append("ended", status=status, why=why)
        names = {outcome["name"] for outcome in self.outcomes}
        return {
            "status": status,
            "why": why,
            "run": str(self.folder),
            "steps": self.outcomes,
            "left": [step.name for step in self.workflow.steps if step.name not in names],
            "report": str(self.folder / PAGE),
        }
