"""An unattended run: with its log, its report, and the commands that follow it.

Report and commands follow also where the run can't begin or breaks off. Otherwise a missing
message, or the report of an earlier run, could be taken for a success.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

from seg_batch.batch.cleanup import forget_reports
from seg_batch.batch.hooks import run_hooks
from seg_batch.batch.job import BatchJob, job_of, require_named
from seg_batch.batch.journal import begin, open_run
from seg_batch.batch.resume import recorded_fingerprint
from seg_batch.batch.run_log import LogWriter, RunLog, recording, worker_line
from seg_batch.batch.runner import run_job
from seg_batch.config.workflow.schema import Workflow
from seg_batch.core.callbacks import Callback, Callbacks
from seg_batch.core.errors import SegbatchError, StoreError
from seg_batch.core.privacy.pseudonym import Teller, hushed
from seg_batch.core.privacy.silence import quiet_libraries
from seg_batch.core.run_files import JOURNAL, LOG, PAGE
from seg_batch.executors import gather_logs
from seg_batch.inference.measuring.profile import profiled, require_profile_place

_SAID = 5  # lines about what is left out
Say = Callable[[str], None]
Write = Callable[[Path], Any]


def run_unattended(
    workflow: Workflow,
    callback: Callback,
    say: Say,
    write: Write,
    *,
    overwrite: bool = False,
    profile: str | None = None,
) -> dict[str, Any]:
    """Do a workflow of one prediction, as far as it is not done, then its report and commands.

    ``say`` gets messages for the user; ``write`` writes the report of a run folder. A failure of
    the report or of a command never changes the outcome of the run. A run that can't begin writes only into a folder that
    holds an earlier session of it. ``profile``: a file for a Chrome trace of where the time of its inputs went; OutputError
    before anything is done or said where it can't be written. Returns the dict of ``run_job`` with the path of the ``report``.
    """
    if profile is not None:
        require_profile_place(profile)
    folder = Path(workflow.run_folder)
    after, hides = Afterwards(workflow, say, write), workflow.outputs.deidentify is not None
    with ExitStack() as held, quiet_libraries(hides):
        try:
            job = _settled(workflow, overwrite, say)
            say_told = say
            if (teller := job.teller) is not None:
                after.say = say_told = told_lines(teller, say)
                held.enter_context(hushed(teller))
            profile_of = held.enter_context(profiled(profile, say, job.requests))
            job = job.profiled() if profile_of else job
            after.log = log = held.enter_context(RunLog(folder / LOG, hides=hides))
            held.enter_context(recording(log))
            _say_left_out(job, log, say)
            outcome = run_job(
                job,
                Callbacks(callback, LogWriter(log), profile_of),
                say=say_told,
                opened=lambda pool: gather_logs(pool, partial(worker_line, log)),
            )
        except StoreError:  # the folder and the report in it belong to another workflow
            raise
        except SegbatchError as error:
            with suppress(OSError):
                if _is_ours(workflow):
                    forget_reports(folder)
                    after.report()
            after.commands(error.status)
            raise
        after.report()
        after.commands(outcome["status"])
    return {**outcome, "report": str(folder / PAGE)}


def _say_left_out(job: BatchJob, log: RunLog, say: Say) -> None:
    """A line in the log for each series and place with something that is no input; the first of them for the user, too."""
    for line in job.left_out:
        log.write("info", "left out", line)
    for line in job.left_out[:_SAID]:
        say(f"left out: {line}")
    if len(job.left_out) > _SAID:
        say(f"left out: {len(job.left_out) - _SAID} more, in {log.path}")


def _settled(workflow: Workflow, overwrite: bool, say: Say) -> BatchJob:
    """The job of the workflow; an error is also recorded in the journal of an earlier session."""
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
    """Whether the run folder holds a journal of this workflow."""
    folder = Path(workflow.run_folder)
    return recorded_fingerprint(folder) == workflow.sha256 and (folder / JOURNAL).exists()


def told_lines(teller: Teller, say: Say) -> Say:
    """``say`` with what may be told."""
    return lambda line: say(teller.told(line))


class Afterwards:
    """What follows a run: its report and commands. Their failures go to the user and to the
    ``log``, and never change the outcome of the run."""

    def __init__(self, workflow: Workflow, say: Say, write: Write) -> None:
        self._workflow, self.say, self._write = workflow, say, write
        self._folder = Path(workflow.run_folder)
        self.log: RunLog | None = None

    def report(self) -> None:
        try:
            self._write(self._folder)
        except Exception as error:
            self._failed("the report could not be made", f"{type(error).__name__}: {error}")

    def commands(self, status: int) -> None:
        run_hooks(self._workflow.on_finish, self._folder, status, self._failed)

    def _failed(self, what: str, why: str) -> None:
        if self.log is not None:
            self.log.write("warning", "afterwards", f"{what}: {why}")
        self.say(f"{what}: {why}")
