"""``segbatch watch`` from start to end: lease, pool, loop, and the commands after each batch."""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

from seg_batch.batch.hooks import run_hooks
from seg_batch.batch.inputs.tables import InputSpec
from seg_batch.batch.job import request_of, require_named
from seg_batch.batch.journal import acquire
from seg_batch.batch.journal.run import taken_over_line
from seg_batch.batch.run_log import RunLog
from seg_batch.batch.shutdown import Shutdown
from seg_batch.batch.watch.archive import Archive
from seg_batch.batch.watch.arrivals import ArrivalCodes, ArrivalLog, KeyedCodes
from seg_batch.batch.watch.batches import Batches
from seg_batch.batch.watch.loop import ArrivalRules, HotFolder
from seg_batch.batch.watch.network import open_outbox, receiving
from seg_batch.config.workflow.schema import Workflow
from seg_batch.core import events, hardware
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import Exit, InputError, OutputError, WorkflowError
from seg_batch.core.files import translate_os_errors as on_disk
from seg_batch.core.privacy.pseudonym import Pseudonym, hushed
from seg_batch.core.privacy.silence import quiet_libraries
from seg_batch.core.privacy.table import SourceOf, codes_in, pseudonyms, read_table
from seg_batch.core.run_files import ARRIVALS, LOG, PAGE, RUNS, shortened
from seg_batch.executors import WorkerRequirements, open_pool
from seg_batch.inference.worker_requirements import shared_requirements

RARELY = 20  # reports take at most one part in so many of the time


@dataclass(frozen=True)
class Service:
    """A watch: its folder, rules and workflow, whose own inputs do not matter. ``report``: writes
    the report of a run folder, after each batch."""

    archive: Archive
    rules: ArrivalRules
    workflow: Workflow
    overwrite: bool = False
    report: Callable[[Path], object] = lambda folder: None

    @cached_property
    def hidden(self) -> Pseudonym | None:
        """What stands for the watched folder, where the workflow says that inputs are not to be known."""
        outputs = self.workflow.outputs
        if outputs.deidentify is None:
            return None
        public = [os.path.abspath(outputs.folder), outputs.folder, *(self.workflow.model or ())]
        if (pacs := self.workflow.pacs) is not None:
            public += [str(pacs.address), *map(str, pacs.places)]
        return pseudonyms(outputs.deidentify, [SourceOf.at([str(self.archive.folder)])], public)[0]

    def told(self, text: str) -> str:
        """A message as it may be told; codes of the table may."""
        if self.hidden is None:
            return text
        known = read_table(self.workflow.outputs.deidentify or "").codes
        return self.hidden.with_public(code for code in codes_in(text) if code in known).told(text)

    @property
    def called(self) -> str:
        """The watched folder in messages."""
        return self.hidden.code if self.hidden else str(self.archive.folder)

    @property
    def codes(self) -> ArrivalCodes:
        """What the log of arrivals writes for them."""
        if self.hidden is None:
            return ArrivalCodes()
        table, inputs = read_table(self.workflow.outputs.deidentify or ""), self.workflow.inputs
        volume = inputs.volume if inputs else None

        def code(name: str) -> str:
            stack = self.archive.stack
            files = [str(self.archive.folder / each) for each in stack.files(name)]
            return table.pseudonym(SourceOf.at(files, stack.key_of(name), volume)).code

        return KeyedCodes(self.hidden, code)

    @property
    def run(self) -> Path:
        """The folder of the arrival log; the run folders of the days are beside it. A hash of the
        path separates watched folders of one name that have one output folder."""
        output = Path(self.workflow.outputs.folder).absolute()
        if self.hidden is not None:
            return output / RUNS / f"watch-{self.hidden.code}"
        folder = self.archive.folder.resolve()
        unique = hashlib.sha256(os.fsencode(folder)).hexdigest()[:8]
        return output / RUNS / f"{shortened(f'watch-{folder.name}', 40)}-{unique}"


def serve(service: Service, callback: Callback, say: Callable[[str], None]) -> int:
    """Watch until a stop is requested; returns the exit status: 0; 3 where an arrival failed;
    130 where a fault like a full disk ended the watch, or an arrival was cut short. RefusedError where
    it can't begin."""
    with hushed(service.hidden):
        return _served(service, callback, say)


def _served(service: Service, callback: Callback, say: Callable[[str], None]) -> int:
    _require(service)
    workflow = service.workflow
    with ExitStack() as last_first:
        enter = last_first.enter_context
        with on_disk(service.run):
            service.run.mkdir(parents=True, exist_ok=True)
        lease = enter(acquire(service.run, say=say))
        log = enter(RunLog(service.run / LOG, hides=service.hidden is not None))
        enter(quiet_libraries(service.hidden is not None))

        def noted(text: str) -> None:
            text = service.told(text)
            log.write("warning", "watch", text)
            say(text)

        outbox = enter(open_outbox(service.workflow.pacs, service.run, noted))
        if line := taken_over_line(lease):
            noted(line)
        arrival_log = enter(closing(ArrivalLog(service.run / ARRIVALS, service.codes)))
        if arrival_log.damaged:
            noted(
                f"{arrival_log.damaged} lines of {service.run / ARRIVALS} do not read and are passed over: what they "
                "told of is taken again"
            )
        stop = Shutdown(callback)
        enter(stop.watching(workflow.limits.deadline(datetime.now())))
        workers = workflow.workers or max(1, hardware.gpus())
        pool = enter(open_pool(workflow.cluster, workers, _needs(service)))
        after = _After(service, noted)
        last_first.callback(after.rest)
        waves = Batches(
            workflow,
            service.run,
            pool,
            stop,
            overwrite=service.overwrite,
            stack=service.archive.stack,
            say=noted,
            ended=after.wave,
        )

        def on_idle(counted: Counter[str]) -> None:
            callback.on(events.Idle(watch_status(service.called, counted, after.report)))

        watch = HotFolder(
            service.archive, service.rules, waves, arrival_log, callback, noted, on_idle, outbox.add
        )
        log.write("info", "begun", f"watching {service.called}")
        with receiving(service.archive, service.workflow.pacs, noted):
            status = watch.run(stop.asked)
        outbox.drain(stop.asked)
        if outbox.unsent:
            noted(outbox.left())
            status = Exit.PARTIAL if status == Exit.COMPLETE else status
        log.write("info", "ended", stop.why, status=status)
        return Exit.STOPPED if stop.fault else status


def watch_status(folder: str, counted: Counter[str], report: Path | None) -> str:
    """The status of a watch, in one line."""
    counts = ", ".join(f"{counted[fate]} {fate}" for fate in ("done", "failed") if counted[fate])
    status = f"watching {folder}" + (f": {counts} so far" if counts else "")
    return f"{status}; report {report}" if report else status


def _needs(service: Service) -> WorkerRequirements:
    """Every worker must see the watched folder, write to the products' folder, find the models."""
    folder, output = str(service.archive.folder), service.workflow.outputs.folder
    return shared_requirements([request_of(service.workflow, InputSpec(folder, output=output))])


def _require(service: Service) -> None:
    folder, outputs = service.archive.folder, service.workflow.outputs
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder, so nothing can arrive there: make it first")
    if folder.resolve() == (output := Path(outputs.folder)).resolve():
        raise OutputError(
            f"{output} is the watched folder, where every product would arrive as an input: "
            "use another output"
        )
    require_named(service.workflow)
    if service.workflow.steps:
        raise WorkflowError("watch does one prediction of each arrival: leave out the steps")
    if "{index" in outputs.pattern:
        raise WorkflowError(
            f"{outputs.pattern!r} counts inputs, and those of a hot folder have no end: name "
            "products after their {stem}"
        )
    service.archive.require_folders()


class _After:
    """What follows each batch: the report of the day, then the commands of ``on_finish``. Failures do not
    end the watch. A report that takes long is written less often, and once at the end."""

    def __init__(self, service: Service, noted: Callable[[str], None]) -> None:
        self._service, self._noted = service, noted
        self._next = 0.0
        self._owed: Path | None = None
        self.report: Path | None = None  # the last one that was written

    def wave(self, folder: Path, status: int) -> None:
        if self._owed not in (None, folder):
            self.rest()  # the report of a day that is over
        self._owed = folder
        if time.monotonic() >= self._next:
            self.rest()

        def failed(command: str, why: str) -> None:
            self._noted(f"on_finish {command}: {why}")

        run_hooks(self._service.workflow.on_finish, folder, status, failed)

    def rest(self) -> None:
        """Write the report that is still owed, if any."""
        if (folder := self._owed) is None:
            return
        began = time.monotonic()
        try:
            self._service.report(folder)
            self.report = folder / PAGE
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            self._noted(f"the report of {folder} could not be made ({why})")
        self._owed = None
        self._next = time.monotonic() + RARELY * (time.monotonic() - began)
