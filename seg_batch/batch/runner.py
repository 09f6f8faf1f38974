"""One run of a workflow: its inputs are surveyed, predicted and recorded, and the run is resumable.

All state is on disk, in the run folder's journal and beside the products. A coordinator that is
killed at any instruction loses only the work that was running, and the same command resumes the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from seg_batch.batch.cleanup import forget_reports, remove_leftovers, write_quarantined
from seg_batch.batch.dispatch import Dispatcher, Ended, partial_result
from seg_batch.batch.job import BatchJob, PlannedInput, RefusedInput, by_risk, largest_first
from seg_batch.batch.journal import Journal, begin, open_run
from seg_batch.batch.journal.events import InputResult
from seg_batch.batch.outcomes import Outcomes, error_text
from seg_batch.batch.resume import PreviousRun, is_up_to_date, prepare_folder
from seg_batch.batch.shutdown import Shutdown
from seg_batch.batch.summaries import retryable_error
from seg_batch.batch.survey import survey_inputs
from seg_batch.config.cluster import read_spec
from seg_batch.core import events
from seg_batch.core.callbacks import Callback, Callbacks
from seg_batch.core.errors import ClusterError, Exit, RefusedError, SegbatchError
from seg_batch.core.files import translate_os_errors as on_disk
from seg_batch.core.units import show_bytes
from seg_batch.executors import Pool, open_pool, require_memory
from seg_batch.executors.faults import back_off_s
from seg_batch.executors.pool import InlinePool
from seg_batch.inference.measuring.disk import free_bytes, left_bytes
from seg_batch.inference.outputs import Outputs
from seg_batch.inference.worker_requirements import shared_requirements

_LEFT_OPEN: list[ExitStack] = []  # pools of interrupted runs: garbage collection would close them


def run_job(
    job: BatchJob,
    callback: Callback,
    *,
    pool: Pool | None = None,
    stop: Shutdown | None = None,
    say: Callable[[str], None],
    opened: Callable[[Pool], None],
) -> dict[str, Any]:
    """Do the inputs of a job that are not done yet; returns counts of outcomes.

    ``status``: 0 complete; 3 some inputs are quarantined, that is refused, failed or partial; 130
    stopped, resumable. Raises ``RefusedError`` where nothing could begin: BusyError when another run
    owns the folder, StoreError when it holds a run of another workflow. ``pool``: stays open; ``stop``:
    the caller's, who then handles signals. ``say`` gets messages for the user, ``opened`` the pool.
    """
    began = time.time()
    with on_disk(job.folder):
        job.folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held, ExitStack() as ours:
        journal = held.enter_context(open_run(job.folder, say=say))
        runner = BatchRunner(job, journal, Callbacks(callback), stop or Shutdown())
        held.callback(runner.release_stop)
        held.callback(remove_leftovers, job)
        earlier = prepare_folder(job)
        if stop is None:
            held.enter_context(runner.stop.watching(job.deadline))
        begin(journal, job.fingerprint)
        for key in earlier.dropped:
            journal.append("dropped", key)
        try:
            if pool is not None or not runner.is_over(earlier.complete):
                own = pool is None
                if pool is None:
                    needs = shared_requirements(job.requests.values())
                    pool = ours.enter_context(open_pool(job.cluster, job.workers, needs))
                opened(pool)
                for line in pool.advice:
                    say(line)
                runner.work(pool, earlier, own=own)
        except KeyboardInterrupt:
            # Not closed, to be quick: workers end with this process.
            _LEFT_OPEN.append(ours.pop_all())
            runner.end(Exit.STOPPED, "interrupted at once")
            forget_reports(job.folder)  # removed, since making them again takes too long here
            raise
        except SegbatchError as error:
            runner.end(error.status, error.message)
            forget_reports(job.folder)
            raise
        return runner.summary(began)


class BatchRunner:
    """One run in its coordinator: the job, the journal, the outcomes, and the request to stop."""

    def __init__(self, job: BatchJob, journal: Journal, callback: Callback, stop: Shutdown) -> None:
        self.job, self.journal, self.callback, self.stop = job, journal, callback, stop
        self.outcomes = self.stop.callback = Outcomes(journal, callback, job.teller)

    def release_stop(self) -> None:
        """Detach the stop from the journal, which is about to close; it may outlive this run."""
        self.stop.callback = self.callback

    def is_over(self, done: dict[str, InputResult]) -> bool:
        """Whether every input is up to date, so that no worker is needed; then sends the totals."""
        if not self.job.requests.keys() <= done.keys():
            return False
        with closing(InlinePool()) as here:
            surveyed = survey_inputs(here, self.job.on(here), self.stop.asked.is_set)
            if not all(is_up_to_date(done[item.key], item) for item in surveyed):
                return False
        self._open(done)
        self.outcomes.on(self._totals([]))
        return True

    def work(self, pool: Pool, earlier: PreviousRun, *, own: bool) -> None:
        """Do what is left. ``own``: the pool was opened for this run; its memory is unchecked."""
        dashboard = getattr(pool, "dashboard", None)
        self.outcomes.on(events.PoolOpened(pool.name, pool.workers, dashboard))
        self._open(earlier.complete)
        items = self._surveyed(pool, earlier.complete)
        if own and items and not read_spec(self.job.cluster).here:
            require_memory(pool, max(item.facts["promised_bytes"] for item in items))
        retries = self.job.retries
        dispatcher = Dispatcher(pool, self.stop, self.outcomes, self._begin, retries)
        for group in by_risk(items, earlier.crash_suspects, alone=pool.inline):
            self._do(dispatcher, group)

    def _do(self, dispatcher: Dispatcher, items: list[PlannedInput]) -> None:
        retries = self.job.retries
        for attempt in range(1, retries + 2):
            retried: list[PlannedInput] = []
            for ended in dispatcher.run(largest_first(items)):
                retried.extend(self._taken(ended))
            items = [replace(item, attempt=attempt + 1) for item in retried]
            if not items or self.stop.asked.wait(back_off_s(attempt)):
                return

    def _open(self, done: dict[str, InputResult]) -> None:
        job = self.job
        self.outcomes.open(len(job.requests) + len(job.refused), len(done))
        for key, error in job.refused.items():
            self._refuse(key, error)

    def _surveyed(self, pool: Pool, done: dict[str, InputResult]) -> list[PlannedInput]:
        """Survey the inputs; returns those to do and refuses those that can't be done. ``done``:
        results of earlier sessions, which are kept where they are up to date."""
        requests, items = self.job.on(pool), list[PlannedInput]()
        for n, item in enumerate(survey_inputs(pool, requests, self.stop.asked.is_set), start=1):
            self.outcomes.on(events.Surveyed(n, len(requests)))
            if item.key in done:
                if is_up_to_date(done[item.key], item):
                    continue
                self.outcomes.anew()
            if isinstance(item, RefusedInput):
                self._refuse(item.key, item.error, item.worker)
                continue
            self.journal.append("surveyed", item.key, facts=item.facts)
            items.append(item)
        self.outcomes.on(self._totals(items))
        largest = max(items, key=lambda item: item.facts["disk_bytes"], default=None)
        if largest is not None and (why := too_little_disk(largest)) is not None:
            self.stop.ask(why, fault=True)
            return []
        return items

    def _begin(self, item: PlannedInput) -> bool:
        """Whether the input may begin: its output needs disk. Sends the event if so."""
        if (why := too_little_disk(item)) is not None:
            self.stop.ask(why, fault=True)
            return False
        self.outcomes.on(events.InputStarted(item.key, item.facts, item.attempt))
        return True

    def _taken(self, ended: Ended) -> list[PlannedInput]:
        """Record the end of an input; returns the input where it is to be tried again."""
        item, error = ended.item, ended.error
        if error is not None and (isinstance(error, ClusterError) or ended.fault == "full"):
            # The error would hit every other input, too: the run stops, and can be resumed.
            self.stop.ask(error_text(error), fault=True)
            return []
        if item is None:
            assert error is not None
            raise error
        # The pool has retried a small input already, on other workers than those where it failed.
        why = "" if item.small else _may_pass(ended)
        if why and item.attempt <= self.job.retries:
            worker = ended.worker or str((ended.result and ended.result["worker"]) or "")
            wait_s = back_off_s(item.attempt)
            why = told_of(item, why)
            self.outcomes.on(events.InputRetried(item.key, why, wait_s, worker, item.attempt))
            return [item]
        self._settle(item, ended)
        return []

    def _settle(self, item: PlannedInput, ended: Ended) -> None:
        error, result = ended.error, ended.result or partial_result(item)
        if result is not None:
            self.outcomes.on(events.InputDone(item.key, result))
        elif isinstance(error, RefusedError) and ended.fault != "passing":
            why = told_of(item, error.message)
            self.outcomes.on(events.InputFailed(item.key, why, 2, ended.worker))
        else:
            assert error is not None
            why = told_of(item, error_text(error))
            worker, attempts = ended.worker, item.attempt
            self.outcomes.on(events.InputFailed(item.key, why, 3, worker, attempts))
        self._enough()

    def _refuse(self, key: str, error: str, worker: str = "") -> None:
        self.outcomes.on(events.InputFailed(key, error, 2, worker))
        self._enough()

    def _enough(self) -> None:
        limit, quarantined = self.job.stop_after, self.outcomes.quarantined
        if limit is not None and quarantined >= limit:
            self.stop.ask(f"inputs set aside: {quarantined}, as many as were allowed")

    def _totals(self, items: list[PlannedInput]) -> events.RunPlanned:
        counts = self.outcomes.counts
        return events.RunPlanned(
            inputs=counts["inputs"],
            done=counts["resumed"],
            refused=counts["refused"],
            blocks=sum(item.blocks for item in items),
            tiles=sum(item.facts["tiles"] for item in items),
            seconds_estimate=round(sum(item.seconds for item in items), 1),
        )

    def summary(self, began: float) -> dict[str, Any]:
        counts, left = self.outcomes.counts, self.outcomes.left
        status = (
            Exit.STOPPED if left else Exit.PARTIAL if self.outcomes.quarantined else Exit.COMPLETE
        )
        why = self.stop.why if left else "all inputs have come to an end"
        self.end(status, why)
        write_quarantined(self.job)
        names = ("inputs", "complete", "resumed", "partial", "refused", "failed", "to_review")
        return {
            "status": status,
            "why": why,
            "run": str(self.job.folder),
            **{name: counts[name] for name in names},
            "left": left,
            "seconds": round(time.time() - began, 3),
        }

    def end(self, status: int, why: str) -> None:
        self.outcomes.on(events.RunEnded(status, why))


def too_little_disk(item: PlannedInput) -> str | None:
    """Why the input may not begin: more disk may be needed than is free. None where it may."""
    outputs = Outputs(Path(item.facts["output"]))
    needed, free = left_bytes(item.facts["disk_bytes"], outputs), free_bytes(outputs.product)
    if needed <= free or item.request.options.force:
        return None
    return (
        f"{item.key} may need {show_bytes(needed)} of disk at {outputs.product}, where {show_bytes(free)} "
        "are free: free some space and run the same command again, or with --set options.force=true"
    )


def told_of(item: PlannedInput, why: str) -> str:
    """The reason as it may be told of the input."""
    return item.request.pseudonym.told(why) if item.request.pseudonym else why


def _may_pass(ended: Ended) -> str:
    """Why another attempt may succeed; empty where it can't."""
    if ended.result is not None:
        return retryable_error(ended.result)
    assert ended.error is not None
    return error_text(ended.error) if ended.fault == "passing" else ""
