"""Dispatch of inputs: small ones as tasks of the pool, large ones coordinated by threads here.

All inputs share one pool, so that one is read or written while another computes. A small input is one
task: one worker reads, predicts, writes and reports it. The task takes a request and returns a compact
result, so thousands cost the coordinator little, and the model stays loaded in the worker. The work
store of a task has a unique name, so a worker wrongly taken for dead can't disturb a second attempt.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from seg_batch.batch.job import PlannedInput, may_coordinate
from seg_batch.batch.journal.events import InputResult
from seg_batch.batch.outcomes import error_text
from seg_batch.batch.shutdown import Shutdown
from seg_batch.batch.summaries import result_of, retryable_error
from seg_batch.core import events, hardware
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import StoppedError
from seg_batch.core.hardware import here
from seg_batch.core.run_files import ATTEMPT
from seg_batch.core.spells import Spell
from seg_batch.executors import Doubtful, Outcome, Pool, RetryCallback, group_size, run_bounded
from seg_batch.executors.faults import Fault, fault_of
from seg_batch.executors.pool import IN_FLIGHT
from seg_batch.inference.outputs import Outputs, read_report
from seg_batch.inference.predict import predict_one
from seg_batch.inference.request import Request

SHARING = (
    8  # small inputs at once in this process where it has a GPU, whose batches their tiles share
)


@dataclass(frozen=True)
class Ended:
    """The end of an input. ``item`` None: the error is that of the whole run; ``fault``: its class
    as it was determined where it was raised."""

    item: PlannedInput | None
    result: InputResult | None = None
    error: BaseException | None = None
    worker: str = ""
    fault: Fault | None = None


class BorrowedPool:
    """A pool that is still needed when this input is done: it is neither drained nor closed."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def drain(self) -> None: ...

    def close(self) -> None: ...


class SharingPool(BorrowedPool):
    """The pool of this process for small inputs, with threads of its own, beside those that do blocks. Small inputs share
    the batches of a GPU; on a CPU one more than blocks of a large input are at once, so that the next is read while one
    is in the model and another is written. The gate of a process's memory lets in what fits
    (``inference.worker_requirements``)."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.window = SHARING if hardware.gpus() else IN_FLIGHT + 1
        self._threads = ThreadPoolExecutor(self.window, thread_name_prefix="segbatch-small")

    def submit(
        self, function: Callable[..., Any], *args: Any, avoid: Collection[str] = ()
    ) -> Future[Any]:
        return self._threads.submit(function, *args)

    def close(self) -> None:
        """Drops what waits, and waits for what runs; the borrowed pool stays open."""
        self._threads.shutdown(wait=True, cancel_futures=True)


def sharing(pool: Pool) -> Pool:
    """The pool for small inputs, to be closed by the caller."""
    return cast(Pool, SharingPool(pool) if pool.inline else BorrowedPool(pool))


class Dispatcher:
    """Does inputs and yields the end of each. ``begin`` is called before each, and returns whether it may
    begin. ``callback`` gets the events of workers, and the retries of small inputs, at most ``retries``
    each. The caller retries large inputs, whose blocks have had retries of their own."""

    def __init__(
        self,
        pool: Pool,
        stop: Shutdown,
        callback: Callback,
        begin: Callable[[PlannedInput], bool],
        retries: int,
    ) -> None:
        self._pool, self._stop, self.callback = pool, stop, callback
        self._begin, self._retries = begin, retries
        self._ended: queue.Queue[Ended] = queue.Queue()
        self._blocks: dict[str, int] = {}  # blocks left of each large input that is running
        self._block_count = threading.Condition()

    def run(self, items: list[PlannedInput]) -> Iterator[Ended]:
        """The ends of the inputs as they come; none for an input that a stop kept from beginning or
        broke off."""
        small = [item for item in items if item.small]
        large = [item for item in items if not item.small]
        threads = [self._thread(self._run_small, small)] if small else []
        threads += [self._thread(self._run_large, large)] if large else []
        while any(thread.is_alive() for thread in threads) or not self._ended.empty():
            self._report_lost_workers()
            try:
                yield self._ended.get(timeout=0.2)
            except queue.Empty:
                continue
        self._report_lost_workers()

    def _report_lost_workers(self) -> None:
        """Report workers that died since the last call."""
        for worker, why in self._pool.losses():
            self.callback.on(events.WorkerTrouble("lost", worker, why))

    def _thread(self, work: Callable[[Any], None], what: Any) -> threading.Thread:
        def caught() -> None:
            try:
                work(what)
            except BaseException as error:
                self._ended.put(Ended(None, error=error, fault=fault_of(error)))

        thread = threading.Thread(target=caught, daemon=True)
        thread.start()
        return thread

    def _run_small(self, items: list[PlannedInput]) -> None:
        out = _HandedOut(self.callback)
        with closing(sharing(self._pool)) as pool:
            for outcome in run_bounded(
                pool,
                run_small,
                map(out.begun, self._begun(items)),
                retries=min(1, self._retries),
                most=self._retries,
                stop=self._stop.asked,
                callback=out,
                tries=out,
                seconds=lambda item: item.seconds,
                together=group_size(len(items), pool.workers),
            ):
                self._small_ended(out, outcome)
        for key in list(out.keys):
            self.callback.on(events.InputWithdrawn(key))

    def _small_ended(self, out: _HandedOut, outcome: Outcome) -> None:
        del out.keys[outcome.item.key]
        if outcome.result and (spells := outcome.result.pop("spells", None)):
            self.callback.on(events.Profiled(spells, outcome.item.key))
        item = replace(outcome.item, attempt=outcome.attempt)
        ended = Ended(item, outcome.result, outcome.error, outcome.worker, outcome.fault)
        self._ended.put(ended)

    def _begun(self, items: list[PlannedInput]) -> Iterator[PlannedInput]:
        for item in items:
            if self._stop.asked.is_set() or not self._begin(item):
                return
            yield item

    def _run_large(self, items: list[PlannedInput]) -> None:
        threads = []
        for item in items:
            with self._block_count:
                while not (
                    self._stop.asked.is_set()
                    or may_coordinate([*self._blocks.values()], self._pool.window)
                ):
                    self._block_count.wait(1)
            if self._stop.asked.is_set() or not self._begin(item):
                break
            self._blocks[item.key] = item.blocks
            threads.append(self._thread(self._coordinate, item))
        for thread in threads:
            thread.join()

    def _coordinate(self, item: PlannedInput) -> None:
        began, callback = time.time(), _InputCallback(self, item.key)
        try:
            pool = BorrowedPool(self._pool)
            report = predict_one(item.request, callback, pool=pool, stop=self._stop.asked)
            result = result_of(report, began, here())
            ended = Ended(item, {**result, "workers": dict(callback.workers.most_common(20))})
        except StoppedError:
            return
        except Exception as error:
            worker = callback.failed_on or here()
            ended = Ended(item, error=error, worker=worker, fault=fault_of(error))
        finally:
            with self._block_count:
                self._blocks.pop(item.key)
                self._block_count.notify_all()
        self._ended.put(ended)

    def block_ended(self, event: events.BlockEnded) -> None:
        self.callback.on(event)
        with self._block_count:
            self._blocks[event.key] -= 1
            self._block_count.notify_all()

    def planned(self, key: str, blocks: int, resumed: int) -> None:
        """A large input is planned; ``resumed`` of its blocks were on disk before."""
        self.callback.on(events.Stage("segmenting", key))
        if resumed:
            self.callback.on(events.InputResumed(key, resumed))
        with self._block_count:
            self._blocks[key] = blocks - resumed
            self._block_count.notify_all()


def partial_result(item: PlannedInput) -> InputResult | None:
    """The result of an earlier attempt that left a partial product, for when a later one fails."""
    report = read_report(Outputs(Path(item.facts["output"]))) if item.attempt > 1 else None
    if report is None or report["status"] == "complete":
        return None
    return result_of(report, time.time(), here())


class _HandedOut(RetryCallback, Callback):
    """The keys of small inputs that are handed out; sends events of retries and of workers."""

    def __init__(self, callback: Callback) -> None:
        self._callback = callback
        self.keys = dict[str, None]()

    def begun(self, item: PlannedInput, which: int = 1) -> PlannedInput:
        self.keys[item.key] = None
        if which > 1:
            self._callback.on(events.InputStarted(item.key, item.facts, which))
        return item

    def retried(
        self, item: PlannedInput, which: int, error: BaseException, wait_s: float, worker: str
    ) -> None:
        del self.keys[item.key]
        why = error_text(error)
        self._callback.on(events.InputRetried(item.key, why, wait_s, worker, which))

    def on(self, event: events.Event) -> None:
        if isinstance(event, events.WorkerTrouble) and event.kind != "retried":
            self._callback.on(event)  # the method ``retried`` sends the others


class _InputCallback(Callback):
    """Sends on the events of one large input with its key. ``workers``: number of blocks done by
    each; ``failed_on``: the worker of the last failed block."""

    def __init__(self, dispatcher: Dispatcher, key: str) -> None:
        self._dispatcher, self._key = dispatcher, key
        self.workers: Counter[str] = Counter()
        self.failed_on = ""

    def on(self, event: events.Event) -> None:
        match event:
            case events.BlocksPlanned(blocks=blocks, resumed=resumed):
                self._dispatcher.planned(self._key, blocks, resumed)
            case events.Stage() | events.Profiled():
                self._dispatcher.callback.on(replace(event, key=self._key))
            case events.WorkerTrouble("dropped"):
                self._dispatcher.callback.on(event)
            case events.WorkerTrouble(why=why):
                self._dispatcher.callback.on(replace(event, why=f"{self._key}: {why}"))
            case events.BlockEnded():
                self._block(replace(event, key=self._key))

    def _block(self, event: events.BlockEnded) -> None:
        if event.receipt:
            self.workers[event.receipt["worker"]] += 1
        if event.error is not None:
            self.failed_on = event.worker
        self._dispatcher.block_ended(event)


class SmallResult(InputResult, total=False):
    """A result on its way to the coordinator. ``spells``: where a profile was asked for."""

    spells: list[Spell]


class _Spells(Callback):
    def __init__(self) -> None:
        self.spells: list[Spell] = []

    def on(self, event: events.Event) -> None:
        if isinstance(event, events.Profiled):
            self.spells += event.spells


def run_small(item: PlannedInput) -> SmallResult | Doubtful:
    """The task of a small input: ``summaries.result_of`` its report. It raises what ``predict_one``
    does."""
    began, profile = time.time(), _Spells()
    report = predict_one(attempt_at(item.request), profile)
    result: SmallResult = {**result_of(report, began, here())}
    if profile.spells:
        result["spells"] = profile.spells
    return Doubtful(result, why) if (why := retryable_error(result)) else result


def attempt_at(request: Request) -> Request:
    """The request with a work store for this attempt alone, done in this process."""
    name = f"{ATTEMPT}{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    return replace(request, attempt=name, cluster="inline")
