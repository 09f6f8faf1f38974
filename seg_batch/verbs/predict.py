"""The main verb: one scene or volume in, one map out, resumable at any moment.

The coordinator decides, hands out blocks, and at the end turns the work store into the product.
State is on disk only: any process may die at any instruction, and the same command goes on.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from seg_batch import machine
from seg_batch.bundles import Model, choose, fitting
from seg_batch.card import ModelCard
from seg_batch.errors import (
    BundleError,
    InputError,
    OutputError,
    PartialResultError,
    RefusedError,
    SegbatchError,
    StoreError,
)
from seg_batch.executors import Outcome, Pool, open_pool, run_bounded
from seg_batch.geometry import Block
from seg_batch.normalise import Normaliser, from_statistics
from seg_batch.plan import Options, Plan, adopt, make_plan, normalised
from seg_batch.sinks.product import Product, check_output, export, probabilities_spec
from seg_batch.sinks.spec import ProductSpec
from seg_batch.sinks.store import StoreSpec, WorkStore, differences, fingerprint_digest
from seg_batch.sources import corner_traps, open_source, pieces, stage
from seg_batch.sources.protocol import SourceInfo
from seg_batch.sources.view import Oriented
from seg_batch.verbs.outputs import Outputs, is_intact, outputs_for, read_report, refuse_foreign
from seg_batch.verbs.report import Run, build_report, write_report
from seg_batch.verbs.work import Job, close_work, open_work, run_block
from seg_batch.version import package_version, versions

ModelLike = str | Path | tuple[ModelCard, Callable[..., Any]] | None


class Listener(Protocol):
    """What is told of a run as it goes; the command line draws it, nobody has to listen."""

    def planned(self, plan: Plan, resumed: int, warnings: tuple[str, ...]) -> None: ...

    def stage(self, name: str) -> None: ...

    def tiles(self, n: int) -> None: ...

    def block(self, outcome: Outcome) -> None: ...


class Silent:
    """The listener that does not listen."""

    def planned(self, plan: Plan, resumed: int, warnings: tuple[str, ...]) -> None: ...

    def stage(self, name: str) -> None: ...

    def tiles(self, n: int) -> None: ...

    def block(self, outcome: Outcome) -> None: ...


@dataclass(frozen=True)
class Request:
    """One predict command for one input. ``workers`` 0: one per GPU, or one."""

    input: str
    output: str | None = None
    model: ModelLike = None
    options: Options = field(default_factory=Options)
    cluster: str = "auto"
    volume: int | None = None
    overwrite: bool = False
    keep_store: bool = False
    many: bool = False


@dataclass(frozen=True)
class Prepared:
    """Everything decided for one request, before anything is written."""

    request: Request
    info: SourceInfo
    model: Model
    plan: Plan
    outputs: Outputs


def resolve_model(model: ModelLike, info: SourceInfo) -> Model:
    """A bundle by name, path or fit; or a card with any callable ``array -> array``."""
    if isinstance(model, tuple):
        card, function = model
        if not isinstance(card, ModelCard) or not callable(function):
            raise BundleError("model= takes a bundle's name or path, or (ModelCard, callable)")
        return fitting(Model(card, function=function), info)
    return choose(None if model is None else str(model), info)


def prepare(request: Request) -> Prepared:
    """Open the input, choose the model, make the plan. Reads the header and the corners only,
    writes nothing."""
    source = open_source(request.input, volume=request.volume)
    try:
        info = replace(source.info, warnings=(*source.info.warnings, *corner_traps(source)))
        model = resolve_model(request.model, info)
        options = _settled(request, model)
        view = Oriented(source, model.card.orientation)
        plan = make_plan(info, view, model.card, options, _identity(request, info, model))
    finally:
        source.close()
    return Prepared(
        request, info, model, plan, outputs_for(info, request.output, many=request.many)
    )


def _settled(request: Request, model: Model) -> Options:
    """Options with everything that depends on this machine decided."""
    options = request.options
    workers = options.workers
    if workers <= 0:
        workers = max(1, machine.gpus()) if request.cluster in ("auto", "local") else 1
    precision = options.precision
    if model.path is None:
        precision = "float32"
    elif precision == "auto":
        precision = machine.default_precision()
    return replace(options, workers=workers, precision=precision)


def _identity(request: Request, info: SourceInfo, model: Model) -> dict[str, Any]:
    return {
        "input": info.identity,
        "volume": request.volume,
        "model": model.card.name,
        "weights": model.card.weights_sha256,
        "segbatch": package_version(),
    }


def predict_one(request: Request, listener: Listener | None = None) -> dict[str, Any]:
    """Segment one input; returns the report that is also written beside the product.

    Raises a ``RefusedError`` error before anything is written. When blocks failed, the product is in
    place with holes, and the report's status is ``partial``.
    """
    start = time.perf_counter()
    listener = listener or Silent()
    prepared = prepare(request)
    outputs, overwrite = prepared.outputs, request.overwrite
    check_destination(prepared)
    report = read_report(outputs)
    with _leaving_nothing_behind(outputs):
        normaliser, staged = _numbers(prepared, listener)
        plan = normalised(prepared.plan, normaliser)
        prepared = replace(prepared, plan=plan)
        if report and not overwrite and _is_this(report, plan) and is_intact(outputs, report):
            _clean(outputs)
            return _again(report)
        with open_pool(request.cluster, plan.workers) as pool:
            store = _open_store(prepared, report)
            with store.lock():
                prepared = replace(prepared, plan=adopt(plan, Plan.from_json(store.spec.plan)))
                return _run(prepared, store, pool, staged, listener, start)


@contextmanager
def _leaving_nothing_behind(outputs: Outputs) -> Iterator[None]:
    """A refusal leaves no store or staged copy, unless there is work in it to resume."""
    try:
        yield
    except StoreError:
        raise
    except RefusedError:
        if not any((outputs.store / "done").glob("*.*.json")):
            _clean(outputs)
        raise


def check_destination(prepared: Prepared) -> None:
    """Refuse an output that can't be written, or that is not ours, before any work."""
    outputs, source = prepared.outputs, Path(prepared.info.path).resolve()
    check_output(outputs.product, prepared.info.kind)
    product = outputs.product.resolve()
    if source in (product, *product.parents) or product in source.parents:
        raise OutputError(f"{product} is or holds the input, which would be lost: use another -o")
    if not prepared.request.overwrite and not outputs.store.exists():
        refuse_foreign(outputs, read_report(outputs))


def _numbers(prepared: Prepared, listener: Listener) -> tuple[Normaliser, Path | None]:
    """The normaliser, and the staged copy of a compressed volume.

    Staging and the pass for statistics happen once, here, so that every worker reads the same
    plain file and uses the same numbers (law 6).
    """
    rule, request = prepared.model.card.normalisation, prepared.request
    staged = None
    if prepared.info.format == "nifti":
        listener.stage("staging the volume")
        staged = stage(prepared.info.path, prepared.outputs.staging)
    if rule.kind == "identity":
        return Normaliser(), staged
    if rule.kind == "card":
        return Normaliser(rule.mean, rule.std, rule.low, rule.high), staged
    listener.stage("measuring mean and deviation")
    source = open_source(request.input, volume=request.volume, staged=staged)
    try:
        return from_statistics(pieces(source), len(prepared.info.channels)), staged
    finally:
        source.close()


def _is_this(report: dict[str, Any], plan: Plan) -> bool:
    """True when the report tells of a complete run of this very plan."""
    return report["status"] == "complete" and not _changed(report, plan)


def _changed(report: dict[str, Any], plan: Plan) -> list[str]:
    return differences(report["plan"]["fingerprint"], plan.fingerprint)


def _again(report: dict[str, Any]) -> dict[str, Any]:
    """The report of a finished run, told again: nothing was left to do."""
    blocks = {**report["blocks"], "resumed": report["blocks"]["total"]}
    return {**report, "blocks": blocks, "seconds": 0.0}


def _clean(outputs: Outputs) -> None:
    for path in (outputs.store, outputs.staging):
        shutil.rmtree(path, ignore_errors=True)


def _store_spec(prepared: Prepared) -> StoreSpec:
    plan, card = prepared.plan, prepared.model.card
    return StoreSpec(
        extent=plan.extent,
        chunk=plan.chunk,
        label_dtype=plan.label_dtype,
        fill=plan.nodata,
        n_classes=plan.classes,
        probabilities=plan.probabilities,
        georef=prepared.info.georef,
        card=card.model_dump(mode="json"),
        plan=plan.to_json(),
        fingerprint=plan.fingerprint,
        versions=versions(),
    )


def _open_store(prepared: Prepared, report: dict[str, Any] | None) -> WorkStore:
    """The store of an earlier try when it has this fingerprint, else a new one.

    StoreError, naming what differs, when the store or the product is of another plan.
    """
    outputs, plan = prepared.outputs, prepared.plan
    if outputs.store.exists():
        changed = differences(WorkStore.open(outputs.store).spec.fingerprint, plan.fingerprint)
    else:
        changed = _changed(report, plan) if report and outputs.product.exists() else []
    if changed and not prepared.request.overwrite:
        raise StoreError(
            f"{outputs.product} was begun with another plan ({'; '.join(changed[:3])}), and the two "
            "can't be mixed: use --overwrite or another -o"
        )
    if outputs.store.exists() and not changed:
        return WorkStore.open(outputs.store)
    shutil.rmtree(outputs.store, ignore_errors=True)
    return WorkStore.create(outputs.store, _store_spec(prepared))


def _job(prepared: Prepared, staged: Path | None) -> Job:
    return Job(
        input=prepared.info.path,
        volume=prepared.request.volume,
        staged=str(staged) if staged else None,
        model=prepared.model,
        plan=prepared.plan,
        store=str(prepared.outputs.store),
        key=str(prepared.outputs.store),
    )


def _run(
    prepared: Prepared,
    store: WorkStore,
    pool: Pool,
    staged: Path | None,
    listener: Listener,
    start: float,
) -> dict[str, Any]:
    """All blocks that are not done yet, then the product and its report."""
    plan, outputs = prepared.plan, prepared.outputs
    done = store.receipts()
    run = Run(total=plan.blocks, resumed=len(done), receipts=list(done.values()))
    listener.planned(plan, len(done), prepared.info.warnings)
    todo = [block for block in plan.output_blocks if block.name not in done]
    job = _job(prepared, staged)
    _predict_blocks(job, todo, pool, run, listener)
    if run.lost_voxels == math.prod(plan.extent):
        _clean(outputs)
        raise InputError(f"no part of {prepared.info.path} can be read: the file is damaged")
    if run.receipts or run.lost_voxels:
        listener.stage("writing the product")
        products = _export(prepared, store, run)
    else:
        raise SegbatchError(f"every block failed; the first: {run.failures[0]['error']}")
    report = build_report(
        prepared.info,
        prepared.model,
        plan,
        run,
        products,
        executor=pool.name,
        seconds=time.perf_counter() - start,
    )
    write_report(outputs.report, report)
    if not run.failures and not prepared.request.keep_store:
        _clean(outputs)
    return report


def _export(prepared: Prepared, store: WorkStore, run: Run) -> list[Product]:
    """The labels, and the probabilities where they were asked for and are not in the same Zarr."""
    outputs, info = prepared.outputs, prepared.info
    spec = ProductSpec(
        extent=info.extent,
        dtype=prepared.plan.label_dtype,
        nodata=prepared.plan.nodata if info.kind == "raster" else None,
        classes=prepared.model.card.classes,
        georef=info.georef,
        tags=_provenance(prepared, run),
        like=Path(info.path) if info.format == "nifti" else None,
    )
    products = []
    zarr_product = outputs.product.suffix == ".zarr"
    if prepared.plan.probabilities and not zarr_product:
        products.append(export(store, outputs.probabilities, probabilities_spec(spec)))
    return [export(store, outputs.product, spec), *products]


def _provenance(prepared: Prepared, run: Run) -> dict[str, str]:
    """What a product says of itself wherever it goes."""
    tags = {
        "SEGBATCH_VERSION": f"segbatch {package_version()}",
        "SEGBATCH_MODEL": prepared.model.card.name,
        "SEGBATCH_WEIGHTS": prepared.model.card.weights_sha256,
        "SEGBATCH_INPUT": Path(prepared.info.path).name,
        "SEGBATCH_FINGERPRINT": fingerprint_digest(prepared.plan.fingerprint),
        "SEGBATCH_STATUS": "PARTIAL" if run.failures else "complete",
        "SEGBATCH_LICENCE": prepared.model.card.licence,
    }
    classes = {f"CLASS_{c.id}": c.name for c in prepared.model.card.classes}
    return {k: v for k, v in {**tags, **classes}.items() if v}


def _predict_blocks(job: Job, todo: list[Block], pool: Pool, run: Run, listener: Listener) -> None:
    """Hand out the blocks and take in what becomes of them; on any interruption stop the rest."""
    work = open_work(job) if todo and pool.inline else None
    if work is not None:
        work.on_tiles = listener.tiles
    try:
        for outcome in run_bounded(pool, partial(run_block, job), todo):
            if isinstance(outcome.error, RefusedError):
                raise outcome.error
            run.add(outcome)
            listener.block(outcome)
    except BaseException:
        if work is not None:
            work.stop.set()
        raise
    finally:
        pool.drain()
        close_work()


def predict(
    path: str | Path,
    output: str | Path | None = None,
    *,
    model: ModelLike = None,
    cluster: str = "inline",
    volume: int | None = None,
    overwrite: bool = False,
    keep_store: bool = False,
    listener: Listener | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Segment one scene or volume; the Python face of ``segbatch predict``.

    ``model``: a bundle's name or path, ``"probe"``, or ``(ModelCard, function)`` with any
    ``function(patches) -> probabilities``. ``options``: the fields of ``plan.Options``, such as
    ``overlap``, ``probabilities``, ``memory_bytes`` or ``workers``. Returns the report. Raises
    ``RefusedError`` when nothing was written, ``PartialResultError`` when the product has holes.
    """
    request = Request(
        input=str(path),
        output=None if output is None else str(output),
        model=model,
        options=Options(**options),
        cluster=cluster,
        volume=volume,
        overwrite=overwrite,
        keep_store=keep_store,
    )
    report = predict_one(request, listener)
    if report["status"] != "complete":
        raise PartialResultError(partial_line(report))
    return report


def partial_line(report: dict[str, Any]) -> str:
    """One line about a partial result: how much is missing, where it begins, why."""
    first = report["failures"][0]
    return (
        f"partial result: {report['blocks']['failed']} of {report['blocks']['total']} blocks "
        f"failed, the first at {first['box']}: {first['error']}; run the same command again to "
        "retry them"
    )
