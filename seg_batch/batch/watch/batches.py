"""Batches of arrivals in a hot folder, each a run of one workflow on one pool that stays open.

All batches of a day share a run folder, so that each day has its journal, its log and its report,
and none of them grows without limit.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from seg_batch.batch.inputs.listing import with_codes
from seg_batch.batch.inputs.tables import InputSpec
from seg_batch.batch.job import BatchJob, job_of
from seg_batch.batch.journal import Journal, State, fold
from seg_batch.batch.run_log import LogWriter, RunLog, recording, worker_line
from seg_batch.batch.runner import run_job
from seg_batch.batch.shutdown import Shutdown
from seg_batch.batch.watch.series_arrivals import SeriesArrivals
from seg_batch.batch.watch.stack_arrivals import SINGLE_FILES, StackArrivals
from seg_batch.config.workflow.parts import InputCase, InputSettings
from seg_batch.config.workflow.schema import Workflow
from seg_batch.core import events
from seg_batch.core.callbacks import Callback, Callbacks
from seg_batch.core.run_files import JOURNAL, LOG
from seg_batch.executors import Pool, gather_logs


class Batches:
    """Runs batches. ``folder``: of the watch, beside which each day has a run folder;
    ``overwrite``: replace products of earlier arrivals of the same name; ``stack``: which files are one; ``ended``: called after
    each batch with its run folder and exit status."""

    def __init__(
        self,
        workflow: Workflow,
        folder: Path,
        pool: Pool,
        stop: Shutdown,
        *,
        overwrite: bool = False,
        stack: StackArrivals | SeriesArrivals = SINGLE_FILES,
        say: Callable[[str], None],
        ended: Callable[[Path, int], None],
    ) -> None:
        self._workflow, self._folder, self._pool = workflow, folder, pool
        self._stop, self._overwrite, self._stack = stop, overwrite, stack
        self._say, self._said, self._ended = say, set[str](), ended
        self._log: RunLog | None = None
        gather_logs(pool, self._log_worker_line)

    def segment(self, inputs: dict[str, Path], callback: Callback, *, overwrite: bool) -> None:
        """Do all inputs and send the end of each to ``callback``, by key. An input without an end
        was stopped, and is to be submitted again."""
        job = self._job(inputs, overwrite or self._overwrite)
        ends = _Ends()
        hides = self._workflow.outputs.deidentify is not None
        with RunLog(job.folder / LOG, hides=hides) as log, recording(log):
            self._log = log
            try:
                outcome = run_job(
                    job,
                    Callbacks(LogWriter(log), callback, ends),
                    pool=self._pool,
                    stop=self._stop,
                    say=self._say_once,
                    opened=lambda pool: None,
                )
            finally:
                self._log = None
                self._stop.callback = callback  # no longer into the log of that run
        if not self._stop.asked.is_set():
            _send_rest(job, ends.keys, callback)
        self._ended(job.folder, outcome["status"])

    def _job(self, inputs: dict[str, Path], overwrite: bool) -> BatchJob:
        """Of all inputs. Series of one place have one path, so each is listed by itself."""
        series = {key for key, path in inputs.items() if self._stack.key_of(path.name) is not None}
        images = {key: path for key, path in inputs.items() if key not in series}
        groups = [group for group in (images, *({key: inputs[key]} for key in series)) if group]
        jobs = [self._job_of(group, overwrite) for group in groups]
        return replace(
            jobs[0],
            requests={key: request for job in jobs for key, request in job.requests.items()},
            refused={key: why for job in jobs for key, why in job.refused.items()},
        )

    def _job_of(self, inputs: dict[str, Path], overwrite: bool) -> BatchJob:
        workflow = self._workflow
        volume = workflow.inputs.volume if workflow.inputs else None
        specs = {key: self._spec(path, volume) for key, path in inputs.items()}
        cases = tuple(InputCase(image=spec.files, id=spec.id) for spec in specs.values())
        day = time.strftime("%Y-%m-%d")
        series = next((spec.series for spec in specs.values() if spec.series), None)
        settings = InputSettings(cases=cases, volume=volume, series=series)
        batch = workflow.model_copy(update={"inputs": settings})
        known = with_codes(batch, list(specs.values()), is_dry=True)
        keys = {spec.key: key for key, spec in zip(specs, known, strict=True)}
        job = job_of(batch, overwrite=overwrite)
        return replace(
            job,
            folder=self._folder.with_name(f"{self._folder.name}-{day}-{workflow.sha256[:8]}"),
            requests={keys[key]: request for key, request in job.requests.items()},
            refused={keys[key]: why for key, why in job.refused.items()},
            overwrite=False,  # of the run folder, which all batches share
            shares_folder=True,
        )

    def _spec(self, path: Path, volume: int | None) -> InputSpec:
        """The files of an arrival by the path of the first."""
        first, *more = (str(path.with_name(name)) for name in self._stack.files(path.name))
        key, case = self._stack.key_of(path.name), self._stack.id_of(path.name)
        return InputSpec(first, volume=volume, series=key, more=tuple(more), id=case)

    def _say_once(self, text: str) -> None:
        """Every batch has the same messages about the pool; one is enough."""
        if text not in self._said:
            self._said.add(text)
            self._say(text)

    def _log_worker_line(self, line: dict[str, Any]) -> None:
        if (log := self._log) is not None:
            worker_line(log, line)


class _Ends(Callback):
    """The keys of inputs whose end was sent."""

    def __init__(self) -> None:
        self.keys: set[str] = set()

    def on(self, event: events.Event) -> None:
        if isinstance(event, events.InputDone | events.InputFailed):
            self.keys.add(event.key)


def _send_rest(job: BatchJob, sent: set[str], callback: Callback) -> None:
    """Send the ends of inputs that an earlier process completed but was killed before logging."""
    rest = job.requests.keys() - sent
    state = fold(Journal.read(job.folder / JOURNAL)) if rest else State()
    for key in sorted(rest & state.inputs.keys()):
        if (result := state.inputs[key].outcome) is not None:
            callback.on(events.InputDone(key, dict(result)))
