"""One night: a workflow's inputs surveyed, done, and told of; alone, unattended, and resumable.

All state is on disk, in the run folder's journal and beside the products. A coordinator that is
killed at any instruction loses nothing but what was in hand, and the same command goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from seg_batch.batch.cleanup import forget_reports, sweep, write_aside
from seg_batch.batch.dispatch import Dispatcher, Ended, partial_result
from seg_batch.batch.job import BatchJob, PlannedInput, RefusedInput, by_risk, largest_first
from seg_batch.batch.journal import Journal, begin, open_run
from seg_batch.batch.journal.events import InputResult
from seg_batch.batch.outcomes import Outcomes, in_words
from seg_batch.batch.resume import PreviousRun, enter, is_up_to_date
from seg_batch.batch.shutdown import Shutdown
from seg_batch.batch.summaries import may_heal
from seg_batch.batch.survey import survey_inputs
from seg_batch.config.cluster import read_spec
from seg_batch.core import events
from seg_batch.core.callbacks import Callback, Callbacks
from seg_batch.core.errors import ClusterError, Exit, RefusedError, SegbatchError
from seg_batch.core.files import translate_os_errors as on_disk
from seg_batch.core.hardware import disk_free_bytes, existing
from seg_batch.core.units import show_bytes
from seg_batch.executors import Pool, open_pool, require_memory
from seg_batch.executors.faults import back_off_s
from seg_batch.executors.pool import InlinePool
from seg_batch.inference.worker_requirements import shared_requirements

_LEFT_OPEN: list[ExitStack] = []  # pools of interrupted nights: to let go of one would close it


def carry_out(
    orders: BatchJob,
    callback: Callback,
    *,
    pool: Pool | None = None,
    stop: Shutdown | None = None,
    say: Callable[[str], None],
    opened: Callable[[Pool], None],
) -> dict[str, Any]:
    """Do the orders, or what is left of them; returns what became of them.

    ``status``: 0 complete; 3 some inputs set aside, that is refused, failed or partial; 130 stopped,
    resumable. Raises ``RefusedError`` where nothing could begin: BusyError when another run has the
    folder, StoreError when that holds another workflow's. ``pool``: one that stays open; ``stop``: the
    caller's, who then listens to signals. ``say`` is told what a person should know, ``opened`` hears
    of the pool.
    """
    began = time.time()
    with on_disk(orders.folder):
        orders.folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held, ExitStack() as ours:
        journal = held.enter_context(open_run(orders.folder, say=say))
        night = BatchRunner(orders, journal, Callbacks(callback), stop or Shutdown())
        held.callback(night.release_stop)
        held.callback(sweep, orders)
        earlier = enter(orders)
        if stop is None:
            held.enter_context(night.stop.watching(orders.limits.deadline))
        begin(journal, orders.fingerprint)
        for key in earlier.dropped:
            journal.append("dropped", key)
        try:
            if pool is not None or not night.is_over(earlier.complete):
                own = pool is None
                pool = pool or ours.enter_context(_pool_for(orders))
                opened(pool)
                for line in pool.advice:
                    say(line)
                night.work(pool, earlier, own=own)
        except KeyboardInterrupt:
            _LEFT_OPEN.append(ours.pop_all())  # at once: our processes end with this one
            night.end(Exit.STOPPED, "interrupted at once")
            forget_reports(orders.folder)  # to make them anew takes longer than at once
            raise
        except SegbatchError as error:
            night.end(error.status, error.message)
            forget_reports(orders.folder)
            raise
        return night.told(began)


def _pool_for(orders: BatchJob) -> AbstractContextManager[Pool]:
    return open_pool(orders.cluster, orders.workers, shared_requirements(orders.requests.values()))


class BatchRunner:
    """The state of one night in its coordinator: the journal, counts, and what is in hand."""

    def __init__(
        self, orders: BatchJob, journal: Journal, callback: Callback, stop: Shutdown
    ) -> None:
        self.orders, self.journal, self.callback, self.stop = orders, journal, callback, stop
        self.ledger = self.stop.callback = Outcomes(journal, callback)

    def release_stop(self) -> None:
        """The journal is about to close: a stop that outlives this run tells the callback alone."""
        self.stop.callback = self.callback

    def is_over(self, done: dict[str, InputResult]) -> bool:
        """Whether every input is done, and stands; then that is told, and no worker is needed."""
        if not self.orders.requests.keys() <= done.keys():
            return False
        with closing(InlinePool()) as here:
            surveyed = survey_inputs(here, self.orders.on(here), self.stop.asked.is_set)
            if not all(is_up_to_date(done[one.key], one) for one in surveyed):
                return False
        self._open(done)
        self.ledger.on(self._totals([]))
        return True

    def work(self, pool: Pool, earlier: PreviousRun, *, own: bool) -> None:
        """``own``: the pool was opened for this night, and its workers were not asked for memory."""
        dashboard = getattr(pool, "dashboard", None)
        self.ledger.on(events.PoolOpened(pool.name, pool.workers, dashboard))
        self._open(earlier.complete)
        items = self._surveyed(pool, earlier.complete)
        if own and items and not read_spec(self.orders.cluster).here:
            require_memory(pool, max(item.facts["promised_bytes"] for item in items))
        retries = self.orders.limits.retries
        hand = Dispatcher(pool, self.stop, self.ledger, self._begin, retries)
        for some in by_risk(items, earlier.feared, alone=pool.inline):
            self._do(hand, some)

    def _do(self, hand: Dispatcher, items: list[PlannedInput]) -> None:
        retries = self.orders.limits.retries
        for attempt in range(1, retries + 2):
            again: list[PlannedInput] = []
            for ended in hand.run(largest_first(items)):
                again.extend(self._taken(ended))
            items = [replace(item, attempt=attempt + 1) for item in again]
            if not items or self.stop.asked.wait(back_off_s(attempt)):
                return

    def _open(self, done: dict[str, InputResult]) -> None:
        orders = self.orders
        self.ledger.open(len(orders.requests) + len(orders.refused), len(done))
        for key, error in orders.refused.items():
            self._refuse(key, error)

    def _surveyed(self, pool: Pool, done: dict[str, InputResult]) -> list[PlannedInput]:
        """What is to be done; what can't be is refused. ``done``: what need not, if it stands."""
        requests, items = self.orders.on(pool), list[PlannedInput]()
        for n, one in enumerate(survey_inputs(pool, requests, self.stop.asked.is_set), start=1):
            self.ledger.on(events.Surveyed(n, len(requests)))
            if one.key in done:
                if is_up_to_date(done[one.key], one):
                    continue
                self.ledger.anew()
            if isinstance(one, RefusedInput):
                self._refuse(one.key, one.error, one.worker)
                continue
            self.journal.append("surveyed", one.key, facts=one.facts)
            items.append(one)
        self.ledger.on(self._totals(items))
        return items

    def _begin(self, item: PlannedInput) -> bool:
        """Whether the input may begin; if so, that is told of."""
        output, needed = item.facts["output"], item.facts["disk_bytes"]
        free = disk_free_bytes(existing(Path(output).parent))
        if free < needed:
            self.stop.ask(
                f"{item.key} may need {show_bytes(needed)} of disk at {output}, where "
                f"{show_bytes(free)} are free: free some space and run the same command again",
                fault=True,
            )
            return False
        self.ledger.on(events.InputStarted(item.key, item.facts, item.attempt))
        return True

    def _taken(self, ended: Ended) -> list[PlannedInput]:
        """Take in what became of an input; it is returned where it is to be tried again."""
        item = ended.item
        if item is None or isinstance(ended.error, ClusterError) or ended.fault == "full":
            self._fatal(ended)
            return []
        # A small one has had all its tries: the pool knows where they failed.
        why = "" if item.small else _may_pass(ended)
        if why and item.attempt <= self.orders.limits.retries:
            worker = ended.worker or str((ended.result and ended.result["worker"]) or "")
            wait_s = back_off_s(item.attempt)
            self.ledger.on(events.InputRetried(item.key, why, wait_s, worker, item.attempt))
            return [item]
        self._settle(item, ended)
        return []

    def _fatal(self, ended: Ended) -> None:
        """What no other input would escape: the night stops, and can be resumed."""
        assert ended.error is not None
        if not (isinstance(ended.error, ClusterError) or ended.fault == "full"):
            raise ended.error
        self.stop.ask(in_words(ended.error), fault=True)

    def _settle(self, item: PlannedInput, ended: Ended) -> None:
        error, result = ended.error, ended.result or partial_result(item)
        if result is not None:
            self.ledger.on(events.InputDone(item.key, result))
        elif isinstance(error, RefusedError) and ended.fault != "passing":
            self.ledger.on(events.InputFailed(item.key, error.message, 2, ended.worker))
        else:
            assert error is not None
            why, worker, attempts = in_words(error), ended.worker, item.attempt
            self.ledger.on(events.InputFailed(item.key, why, 3, worker, attempts))
        self._enough()

    def _refuse(self, key: str, error: str, worker: str = "") -> None:
        self.ledger.on(events.InputFailed(key, error, 2, worker))
        self._enough()

    def _enough(self) -> None:
        most, aside = self.orders.limits.stop_after, self.ledger.aside
        if most is not None and aside >= most:
            self.stop.ask(f"inputs set aside: {aside}, as many as were allowed")

    def _totals(self, items: list[PlannedInput]) -> events.RunPlanned:
        counts = self.ledger.counts
        return events.RunPlanned(
            inputs=counts["inputs"],
            done=counts["resumed"],
            refused=counts["refused"],
            blocks=sum(item.blocks for item in items),
            tiles=sum(item.facts["tiles"] for item in items),
            seconds_estimate=round(sum(item.seconds for item in items), 1),
        )

    def told(self, began: float) -> dict[str, Any]:
        counts, left = self.ledger.counts, self.ledger.left
        status = Exit.STOPPED if left else Exit.PARTIAL if self.ledger.aside else Exit.COMPLETE
        why = self.stop.why if left else "all inputs have come to an end"
        self.end(status, why)
        write_aside(self.orders)
        names = ("inputs", "complete", "resumed", "partial", "refused", "failed")
        return {
            "status": status,
            "why": why,
            "run": str(self.orders.folder),
            **{name: counts[name] for name in names},
            "left": left,
            "seconds": round(time.time() - began, 3),
        }

    def end(self, status: int, why: str) -> None:
        self.ledger.on(events.RunEnded(status, why))


def _may_pass(ended: Ended) -> str:
    """Why another try may succeed; empty where it will not."""
    if ended.result is not None:
        return may_heal(ended.result)
    assert ended.error is not None
    return in_words(ended.error) if ended.fault == "passing" else ""
