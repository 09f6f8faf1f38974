"""The main command: one scene or volume in, one map out, resumable at any moment.

The coordinator plans, hands out blocks, and at the end turns the work store into the product.
State is on disk only: any process may die at any instruction, and the same command resumes the run.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Container, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from seg_batch.core import events
from seg_batch.core.callbacks import Callback, Callbacks
from seg_batch.core.errors import (
    RefusedError,
    StoppedError,
)
from seg_batch.core.geometry import Block
from seg_batch.core.normalise import Normaliser
from seg_batch.core.privacy.addresses import is_remote
from seg_batch.core.privacy.pseudonym import Telling, hushed
from seg_batch.core.registry.formats import FORMATS
from seg_batch.core.spells import add, recorded, spell
from seg_batch.executors import Pool, group_size, open_pool, run_bounded
from seg_batch.inference.deidentified.telling import known_as, leaving_no_copy, told_report
from seg_batch.inference.measuring.disk import require_disk
from seg_batch.inference.measuring.memory import METER
from seg_batch.inference.measuring.time import is_alone, remember
from seg_batch.inference.outputs import read_report, write_report
from seg_batch.inference.plan import DraftPlan, Plan, adopt_stored
from seg_batch.inference.postprocess_run import post_process
from seg_batch.inference.products.also import check_also, make_missing
from seg_batch.inference.products.export import Export
from seg_batch.inference.products.file_borders import file_borders
from seg_batch.inference.products.in_bucket import check_bucket, uploaded
from seg_batch.inference.products.tiles import check_tiles, make_tiles
from seg_batch.inference.report import BlockTally, Report, build_report
from seg_batch.inference.request import Prepared, Request, prepare
from seg_batch.inference.resume import (
    check_destination,
    clean,
    clean_unused,
    finished_report,
    leaving_nothing_behind,
    open_store,
    require_same_input,
    require_some,
)
from seg_batch.inference.sliding_window.block import Receipt
from seg_batch.inference.wanted.idle import end_idle, idle_blocks, idle_line
from seg_batch.inference.wanted.parts import wanted_voxels
from seg_batch.inference.worker import BlockJob, close_job, open_job, run_block
from seg_batch.inference.worker_requirements import requirements_of, some_files
from seg_batch.io.sinks.work_store import WorkStore
from seg_batch.io.sources import stage
from seg_batch.io.sources.protocol import SourceInfo
from seg_batch.io.sources.views.open_view import open_view


def predict_one(
    request: Request,
    callback: Callback | None = None,
    *,
    pool: Pool | None = None,
    stop: Event | None = None,
) -> Report:
    """Segment one input; returns the report that is also written beside the product.

    ``pool``: that of a run of many inputs; else the request's own is opened. Once ``stop`` is set no
    block is begun, the running ones are finished, and ``StoppedError`` is raised if any are left.
    Raises ``RefusedError`` before anything is written. When blocks failed, the product is in
    place with holes, and the report's status is ``partial``.
    """
    callback = Callbacks(callback)
    with recorded(request.profile) as spells, hushed(request.pseudonym):
        try:
            return _predicted(request, callback, pool, stop)
        finally:
            if spells:
                callback.on(events.Profiled(tuple(spells)))


@spell("predict")
def _predicted(
    request: Request, callback: Callback, pool: Pool | None, stop: Event | None
) -> Report:
    start = time.perf_counter()
    with spell("plan"):
        draft = prepare(request)
    outputs, hidden = draft.outputs, draft.request.pseudonym
    callback = Telling(hidden, callback) if hidden else callback
    report = read_report(outputs)
    check_destination(draft, report)
    check_also(draft, report)
    check_bucket(draft, report)
    check_tiles(draft)
    require_disk(draft, report)
    with leaving_nothing_behind(outputs), leaving_no_copy(hidden, draft.info, outputs):
        normaliser, staged, limits = _numbers(draft, callback)
        prepared = draft.by(draft.plan.with_normaliser(normaliser))
        if (earlier := finished_report(prepared, report)) is not None:
            if not request.keep_store:
                clean_unused(outputs)
            made = make_missing(prepared, earlier, callback)
            return uploaded(prepared, make_tiles(prepared, made, callback))
        with nullcontext(pool) if pool else _own_pool(prepared, staged) as workers:
            with spell("store"):
                store = open_store(prepared, report)
            with store.lock():
                prepared = prepared.by(adopt_stored(prepared.plan, Plan.from_json(store.spec.plan)))
                if request.overwrite:
                    store.forget_damaged(prepared.plan.output_blocks)
                stop, alone = stop or Event(), is_alone(request, pool)
                image = prepared.request.image(staged)
                job = BlockJob(
                    image,
                    prepared.model,
                    prepared.plan,
                    str(outputs.store),
                    uuid.uuid4().hex,
                    request.profile,
                    limits,
                    prepared.request.pseudonym,
                    _identity_of_remote(prepared.info),
                    prepared.area,
                )
                made = _run(prepared, store, workers, job, callback, start, stop, alone=alone)
        return uploaded(prepared, made)


def _identity_of_remote(info: SourceInfo) -> dict[str, Any] | None:
    """What workers hold against what they find, where a file lies on another machine."""
    return info.identity if any(is_remote(file.path) for file in info.files) else None


def _own_pool(prepared: Prepared[Plan], staged: tuple[Path, ...]) -> AbstractContextManager[Pool]:
    """A pool of this run's own, whose workers were checked against its requirements."""
    plan, request = prepared.plan, prepared.request
    files: tuple[str | Path, ...] = staged or request.files
    if request.mosaic:
        files = (*staged, *some_files(request))
    folder = prepared.outputs.product.parent
    needs = requirements_of(prepared.model, plan, inputs=files, outputs=[folder])
    return open_pool(prepared.request.cluster, plan.workers, needs)


def _numbers(
    prepared: Prepared[DraftPlan], callback: Callback
) -> tuple[Normaliser, tuple[Path, ...], np.ndarray | None]:
    """The normaliser, the files that are read instead where a volume is compressed, and the limits of values that are
    normalised before they are resampled.

    Staging and the pass for statistics happen once, here, so that every worker reads the same
    plain file and uses the same numbers (law 6).
    """
    card, staged = prepared.model.card, _staged(prepared, callback)
    known = card.normalisation.normaliser()
    if known and not (prepared.plan.model_grid or {}).get("normalised"):
        return known, staged, None
    callback.on(events.Stage(f"measuring {card.normalisation.measures or 'the range of values'}"))
    with spell("statistics"), open_view(prepared.request.image(staged), card) as view:
        normaliser = known or view.numbers(card.normalisation)
        return normaliser, staged, view.limits(normaliser)


def _staged(prepared: Prepared[DraftPlan], callback: Callback) -> tuple[Path, ...]:
    """The files that are read instead of the input, where there are any; of a mosaic its index."""
    request, files, folder = prepared.request, prepared.info.files, prepared.outputs.staging
    if request.mosaic:
        return (request.image().stage_index(prepared.info, folder),)
    if not any(FORMATS[file.format].stage for file in files):
        return ()
    callback.on(events.Stage("staging the volume"))
    with spell("staging"):
        return tuple(
            stage(
                file.path,
                folder,
                volume=request.volume,
                series=request.series,
                series_files=request.series_files,
            )
            for file in files
        )


def _run(
    prepared: Prepared[Plan],
    store: WorkStore,
    pool: Pool,
    job: BlockJob,
    callback: Callback,
    start: float,
    stop: Event,
    *,
    alone: bool = False,
) -> Report:
    """All blocks that are not done yet, then the product and its report. ``alone``: beside no other input."""
    plan, outputs = prepared.plan, prepared.outputs
    done = store.receipts()
    run = BlockTally(total=plan.blocks, resumed=len(done), receipts=list(done.values()))
    warnings = (*prepared.verdict.lines, *prepared.info.warnings, *pool.advice)
    callback.on(events.BlocksPlanned(plan.blocks, plan.tiles_predicted, len(done), warnings))
    idle = _idle(prepared, store, job, done) if prepared.info.kind == "raster" else {}
    run.receipts += idle.values()
    done |= idle
    if idle and (line := idle_line(idle.values(), plan.blocks)):
        callback.on(events.Stage(line))
    todo = [block for block in plan.output_blocks if block.name not in done]
    most = 0 if prepared.request.attempt else None  # an attempt is repeated as a whole
    with METER.working(job.key, plan), Export.begun(prepared, store, done) as export:
        _predict_blocks(job, todo, pool, run, callback, stop, most, export)
        require_some(prepared, run, wanted_voxels(prepared.area, plan.output_blocks))
        mapped = post_process(job, store, pool, callback)
        require_same_input(prepared)
        callback.on(events.Stage("writing the product"))
        products = export.products(run, mapped.name)
        run.peak_rss_bytes = max(run.peak_rss_bytes, METER.peak_bytes(job.key))
    report = build_report(
        known_as(prepared.of_product, prepared.request.pseudonym, plan.fingerprint["input"]),
        prepared.model,
        prepared.verdict,
        plan,
        run,
        products,
        executor=pool.name,
        seconds=time.perf_counter() - start,
        steps=mapped.steps,
    )
    if borders := file_borders(prepared):
        report["file_borders"] = borders
    before = read_report(outputs) or report
    if stale := before.get("also"):
        report["also"] = stale  # which says of which map they are
    if there := before.get("remote"):
        report["remote"] = there  # of which some may be replaced
    report = told_report(report, prepared.request.pseudonym)
    write_report(outputs.report, report)
    if alone and not run.failures:
        remember(plan, prepared.model, run.receipts[len(done) :])
    if not run.failures and not prepared.request.keep_store:
        clean(outputs)
    return make_tiles(prepared, make_missing(prepared, report, callback), callback)


@spell("idle")
def _idle(
    prepared: Prepared[Plan], store: WorkStore, job: BlockJob, done: Container[str]
) -> dict[str, Receipt]:
    """The receipts of blocks that need no model, which are done here."""
    blocks = [block for block in prepared.plan.output_blocks if block.name not in done]
    with open_view(job.image, prepared.model.card) as view:
        idle = idle_blocks(view.native, prepared.area, blocks)
        return end_idle(idle, prepared.plan, view, store) if idle.blocks else {}


@spell("blocks")
def _predict_blocks(
    job: BlockJob,
    todo: list[Block],
    pool: Pool,
    run: BlockTally,
    callback: Callback,
    stop: Event,
    most: int | None,
    export: Export,
) -> None:
    """Hand out the blocks and collect their results; on any interruption stop the rest.
    ``most``: further tries of a block."""
    with _opened(job, pool, callback) if todo else nullcontext():
        for outcome in run_bounded(
            pool,
            partial(run_block, job),
            todo,
            most=most,
            stop=stop,
            callback=callback,
            together=group_size(len(todo), pool.workers),
        ):
            if isinstance(outcome.error, RefusedError):
                raise outcome.error
            if outcome.result:
                add(outcome.result.pop("spells", ()), outcome.item.name)
            run.add(outcome)
            if outcome.error is None:
                export.block_done(outcome.item)
            block, worker = outcome.item.name, outcome.worker
            callback.on(events.BlockEnded(block, worker, outcome.result, outcome.error))
    if len(run.receipts) + len(run.failures) < run.total:
        raise StoppedError("stopped as asked; run the same command again to resume")


@contextmanager
def _opened(job: BlockJob, pool: Pool, callback: Callback) -> Iterator[None]:
    """The job open for the pool; after the context no block of it runs in this process."""
    with ExitStack() as last_first:
        last_first.callback(close_job)
        work = last_first.enter_context(open_job(job)) if pool.inline else None
        last_first.callback(pool.drain)
        if work is not None:
            work.on_tiles = lambda n: callback.on(events.Advanced(n))
        try:
            yield
        except BaseException:
            if work is not None:
                work.stop.set()  # its blocks end at their next batch
            raise


def partial_line(report: Report) -> str:
    """One line about a partial result: how much is missing, where it begins, and the reason."""
    first = report["failures"][0]
    return (
        f"partial result: {report['blocks']['failed']} of {report['blocks']['total']} blocks "
        f"failed, the first at {first['box']}: {first['error']}; run the same command again to "
        "retry them"
    )
