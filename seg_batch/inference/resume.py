"""The files of an earlier run: resume it, refuse, or start anew. Nothing is lost by accident."""

from __future__ import annotations

import re
import shutil
import socket
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from seg_batch.config.card import ModelCard
from seg_batch.core.errors import (
    ChangedError,
    InputError,
    OutputError,
    RefusedError,
    SegbatchError,
    StoreError,
    UnreadableError,
)
from seg_batch.core.files import file_of
from seg_batch.core.hardware import is_running
from seg_batch.core.privacy.addresses import is_remote
from seg_batch.core.registry.formats import holds_probabilities
from seg_batch.core.run_files import ATTEMPT, STAGED, STORE
from seg_batch.core.versions import versions
from seg_batch.inference.outputs import Outputs, is_intact, read_report
from seg_batch.inference.plan import Decisions, Plan
from seg_batch.inference.products.facts import BlockCounts
from seg_batch.inference.report import BlockTally, Report
from seg_batch.inference.request import Prepared
from seg_batch.io.sinks.product import check_output, digest
from seg_batch.io.sinks.product_sides import require_no_foreign_side_files
from seg_batch.io.sinks.spec import StoreSpec
from seg_batch.io.sinks.store_folder import StoreFolder
from seg_batch.io.sinks.work_store import WorkStore, fingerprint_differences

# See batch.dispatch.attempt_at: host, pid.
_AT_WORK = re.compile(rf"\.{ATTEMPT}(.+)-(\d+)-[0-9a-f]+\.\w")


def check_destination(prepared: Prepared[Decisions], report: Report | None) -> None:
    """Refuse an output that can't be written, is the input, or is not ours, before any work."""
    outputs = prepared.outputs
    for path in (outputs.product, *outputs.also):
        _require_apart(path.resolve(), prepared)
    check_output(outputs.product, prepared.info.kind)  # which makes its folder
    wanted = [outputs.product]
    if prepared.plan.probabilities and not holds_probabilities(outputs.product.name):
        wanted.append(outputs.probabilities)
    for path in wanted:
        require_no_foreign_side_files(path, prepared.info.georef)
    if prepared.request.overwrite:
        return
    if report is None and outputs.report.exists():
        raise OutputError(
            f"{outputs.report} exists and is not a report of segbatch, so it would be lost: "
            "use --overwrite or another output"
        )
    for path in wanted:
        if path.exists() and digest(path) not in _known_digests(outputs):
            raise OutputError(
                f"{path} exists and is not an unchanged result of segbatch, so it would be lost: "
                "use --overwrite or another output"
            )


def _require_apart(product: Path, prepared: Prepared[Decisions]) -> None:
    """OutputError for a path that is or holds the input, or lies in another store."""
    here = (path for path in prepared.info.paths if not is_remote(path))
    for source in (file_of(path).resolve() for path in here):
        if source in (product, *product.parents) or product in source.parents:
            raise OutputError(
                f"{product} is or holds the input, which would be lost: use another output"
            )
    if around := next((p for p in product.parents if (p / "zarr.json").exists()), None):
        raise OutputError(
            f"{around} is a Zarr store, which a file in it would spoil: use another output"
        )


def _known_digests(outputs: Outputs) -> set[str]:
    """The hashes of products of ours: noted in the store of a run that died before its report, or in
    the report. Stores are read first: a run that ends meanwhile writes its report before it removes
    its store."""
    stores = (Outputs(outputs.product).store, *outputs.attempts())
    known = {sha256 for store in stores for sha256 in StoreFolder(store).exported()}
    report = read_report(outputs)
    products = [report.get("product"), report.get("probabilities")] if report else []
    return known | {product.get("sha256", "") for product in products if product}


def finished_report(prepared: Prepared[Plan], report: Report | None) -> Report | None:
    """The report of a complete, unchanged product of this very plan, with no time spent; else None."""
    if not report or prepared.request.overwrite or report["status"] != "complete":
        return None
    if _changed(report, prepared) or not is_intact(prepared.outputs, report):
        return None
    blocks: BlockCounts = {**report["blocks"], "resumed": report["blocks"]["total"]}
    return {**report, "blocks": blocks, "seconds": 0.0}


def _changed(report: Report, prepared: Prepared[Plan]) -> list[str]:
    return [
        *fingerprint_differences(report["plan"]["fingerprint"], prepared.plan.fingerprint),
        *_classes_changed(report["classes"], prepared.model.card),
    ]


def _classes_changed(before: Iterable[Mapping[str, Any]], card: ModelCard) -> list[str]:
    """A phrase where the outputs of the network had other ids or names, which no fingerprint holds."""
    earlier, now = (
        ", ".join(f"{c['id']}={c['name']}" for c in classes)
        for classes in (before, [c.model_dump() for c in card.classes])
    )
    return [] if earlier == now else [f"classes: {earlier} became {now}"]


def open_store(prepared: Prepared[Plan], report: Report | None) -> WorkStore:
    """The store of an earlier try when it has this fingerprint, else a new one.

    StoreError, naming what differs, when the store or the product is of another plan.
    """
    outputs, plan = prepared.outputs, prepared.plan
    overwrite, changed = prepared.request.overwrite, list[str]()
    _remove_remnant(outputs.store)
    there = outputs.product.exists() or bool(report and report.get("remote"))
    if report and there and not overwrite:
        changed = _changed(report, prepared)
    if outputs.store.exists():
        try:
            earlier = WorkStore.open(outputs.store)
        except StoreError:
            if not overwrite:
                raise
            shutil.rmtree(outputs.store)
        else:
            differences = [
                *fingerprint_differences(earlier.spec.fingerprint, plan.of_prediction),
                *_classes_changed(earlier.spec.card["classes"], prepared.model.card),
            ]
            changed = differences or changed  # else the product is another map of these predictions
            if not changed:
                return earlier
            if overwrite:
                with earlier.lock():  # another run may be writing to it
                    shutil.rmtree(outputs.store)
    if changed and not overwrite:
        raise StoreError(
            f"{outputs.product} was begun with another plan ({'; '.join(changed[:3])}), and the two "
            "can't be mixed: use --overwrite or another output"
        )
    return WorkStore.create(outputs.store, _store_spec(prepared))


def _store_spec(prepared: Prepared[Plan]) -> StoreSpec:
    plan, card = prepared.plan, prepared.model.card
    return StoreSpec(
        extent=plan.extent,
        chunk=plan.chunk,
        label_dtype=plan.label_dtype,
        fill=plan.nodata,
        n_classes=plan.classes,
        probabilities=plan.keeps_probabilities,
        georef=prepared.info.georef,
        card=card.model_dump(mode="json"),
        plan=plan.to_json(),
        fingerprint=plan.of_prediction,
        versions=versions(),
    )


def require_same_input(prepared: Prepared[Decisions]) -> None:
    """InputError when the input is another file than at the beginning: the predictions are then of both.
    A file that is gone did not change while it was read."""
    info, outputs = prepared.info, prepared.outputs
    here = (path for path in info.paths if not is_remote(path))
    if not all(file_of(path).exists() for path in here):
        return
    try:
        source = prepared.request.image().open()
    except InputError:
        if any(is_remote(file.path) for file in info.files):
            return  # gone since: each answer was of the one version
        raise
    source.close()
    if source.info.identity != info.identity:
        clean(outputs)
        raise ChangedError(
            f"{info.path} changed while it was segmented: run the same command again"
        )


def clean_unused(outputs: Outputs) -> None:
    """``clean``, unless another run holds the store."""
    _remove_remnant(outputs.store)
    try:
        with WorkStore.open(outputs.store).lock() if outputs.store.exists() else nullcontext():
            clean(outputs)
    except StoreError:
        return


def _remove_remnant(store: Path) -> None:
    if StoreFolder(store).is_remnant():
        shutil.rmtree(store, ignore_errors=True)


def clean(outputs: Outputs) -> None:
    """Remove what is needed only until the product exists, of all attempts at it.

    Store and staged copy first get the name of an attempt: a kill half way then leaves no half store to
    be resumed. Attempts at work are left alone: without their stores they would fail.
    """
    ended = Outputs(outputs.product, f"{ATTEMPT}over-{uuid.uuid4().hex[:8]}")
    for path, renamed in ((outputs.store, ended.store), (outputs.staging, ended.staging)):
        with suppress(OSError):
            path.rename(renamed)
    left = [path for path in outputs.attempts() if not is_at_work(path)]
    for path in (outputs.store, outputs.staging, ended.store, ended.staging, *left):
        shutil.rmtree(path, ignore_errors=True)


def is_at_work(path: Path) -> bool:
    """Whether a process holds this work store, or the store beside this staged copy; where no lock says
    so yet, whether the process that made it runs on this machine."""
    folder = StoreFolder(path.with_name(path.name.replace(STAGED, STORE)))
    if (is_held := folder.is_held()) is not None:
        return is_held
    maker = _AT_WORK.search(path.name)
    return maker is not None and maker[1] == socket.gethostname() and is_running(int(maker[2]))


def _was_killed_here(path: Path) -> bool:
    maker = _AT_WORK.search(path.name)
    return maker is not None and maker[1] == socket.gethostname() and not is_at_work(path)


@contextmanager
def leaving_nothing_behind(outputs: Outputs) -> Iterator[None]:
    """A refused run removes what it made itself, unless there is work in it to resume. An attempt is
    never resumed, and removes it in any case, with what attempts left that were killed on this machine."""
    begun = outputs.store.exists() or outputs.staging.exists()
    try:
        yield
    except RefusedError as error:
        if isinstance(error, ChangedError) or not (
            outputs.attempt or begun or any(StoreFolder(outputs.store).markers())
        ):
            clean_unused(outputs)
        raise
    finally:
        if outputs.attempt:
            killed = [path for path in outputs.attempts() if _was_killed_here(path)]
            for path in (outputs.store, outputs.staging, *killed):
                shutil.rmtree(path, ignore_errors=True)


def require_some(prepared: Prepared[Plan], run: BlockTally, voxels: int) -> None:
    """The error of a run of which no voxel of the ``voxels`` was read, or no block was predicted."""
    info = prepared.info
    if run.lost_voxels == voxels:
        clean(prepared.outputs)
        damaged = " or ".join([info.path, *info.facts.get("masks", ())])
        raise UnreadableError(
            f"no part of {info.path} can be read: if its disk is well, {damaged} is damaged, so "
            "copy it again from its origin"
        )
    if not run.receipts and not run.lost_voxels:
        first = run.failures[0]["error"]
        raise SegbatchError(f"every block failed; the first: {first}") from run.cause
