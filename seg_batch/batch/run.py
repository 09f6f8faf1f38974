"""A night that nobody watches: with its log, its report in the morning, and the commands that follow.

These follow also where the night can't begin or breaks off: who relies on them must not take silence,
or the report of the night before, for a success.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

from seg_batch.batch.cleanup import forget_reports
from seg_batch.batch.hooks import run_hooks
from seg_batch.batch.job import BatchJob, job_of, require_named
from seg_batch.batch.journal import begin, open_run
from seg_batch.batch.run_log import LogWriter, RunLog, recording, worker_line
from seg_batch.batch.runner import carry_out
from seg_batch.config.workflow.schema import Workflow
from seg_batch.core.callbacks import Callback, Callbacks
from seg_batch.core.errors import SegbatchError, StoreError
from seg_batch.core.run_files import JOURNAL, LOG, PAGE, WORKFLOW
from seg_batch.executors import gather_logs

Say = Callable[[str], None]
Write = Callable[[Path], Any]


def run_unattended(
    workflow: Workflow,
    callback: Callback,
    say: Say,
    write: Write,
    *,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Do a workflow of one prediction, or what is left of it, and what belongs to it. ``say`` is told what
    a person should know; ``write`` makes the report of a run folder. What fails in them never changes
    what became of the run. Where the run can't begin, nothing is written but into a run folder that
    holds it already. Returns what ``carry_out`` does, and where the report is."""
    folder = Path(workflow.run_folder)
    after = Afterwards(workflow, say, write)
    with ExitStack() as held:
        try:
            orders = _settled(workflow, overwrite, say)
            after.log = log = held.enter_context(RunLog(folder / LOG))
            held.enter_context(recording(log))
            told = carry_out(
                orders,
                Callbacks(callback, LogWriter(log)),
                say=say,
                opened=lambda pool: gather_logs(pool, partial(worker_line, log)),
            )
        except StoreError:  # the folder is another's, and so is its report
            raise
        except SegbatchError as error:
            with suppress(OSError):
                if _is_ours(workflow):
                    forget_reports(folder)
                    after.report()
            after.commands(error.status)
            raise
        after.report()
        after.commands(told["status"])
    return {**told, "report": str(folder / PAGE)}


def _settled(workflow: Workflow, overwrite: bool, say: Say) -> BatchJob:
    """The orders; where there can be none, the journal of an earlier try is told so."""
    try:
        require_named(workflow)
        return job_of(workflow, overwrite=overwrite)
    except SegbatchError as error:
        if _is_ours(workflow):
            with open_run(Path(workflow.run_folder), say=say) as journal:
                begin(journal, workflow.sha256)
                journal.append("ended", status=error.status, why=error.message)
        raise


def _is_ours(workflow: Workflow) -> bool:
    """Whether the run folder holds a journal of this very workflow."""
    folder = Path(workflow.run_folder)
    try:
        known = json.loads((folder / WORKFLOW).read_bytes())["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(known == workflow.sha256) and (folder / JOURNAL).exists()


class Afterwards:
    """What follows a run: its report and the commands, with its log where it came to one. No failure of
    theirs changes what became of the run."""

    def __init__(self, workflow: Workflow, say: Say, write: Write) -> None:
        self._workflow, self._say, self._write = workflow, say, write
        self._folder = Path(workflow.run_folder)
        self.log: RunLog | None = None

    def report(self) -> None:
        try:
            self._write(self._folder)
        except Exception as error:
            self._failed("the report could not be made", f"{type(error).__name__}: {error}")

    def commands(self, status: int) -> None:
        run_hooks(
            self._workflow.on_finish,
            run=self._folder,
            status=status,
            report=self._folder / PAGE,
            failed=self._failed,
        )

    def _failed(self, what: str, why: str) -> None:
        if self.log is not None:
            self.log.write("warning", "afterwards", f"{what}: {why}")
        self._say(f"{what}: {why}")
