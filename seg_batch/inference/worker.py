"""The work of one process: blocks of one run, read, predicted, stitched and written.

Everything that a task needs is in its :class:`BlockJob`, so that any process can do any block, even twice
(law 3). A process opens a job once and keeps it open for the next block.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from seg_batch.core.errors import ChangedError, StoppedError
from seg_batch.core.geometry import Block, Box
from seg_batch.core.hardware import here
from seg_batch.core.privacy.pseudonym import Pseudonym, hushed, told_receipt
from seg_batch.core.spells import recorded, spell
from seg_batch.core.taper import Taper
from seg_batch.inference.bundles import Model
from seg_batch.inference.loading.predictors import load_predictor_of
from seg_batch.inference.measuring.memory import METER
from seg_batch.inference.on_device.rule import device_of
from seg_batch.inference.plan import Plan
from seg_batch.inference.sliding_window.block import BlockResult, Read, Receipt, predict_block
from seg_batch.inference.sliding_window.empty import EmptyRule
from seg_batch.inference.sliding_window.scores import scores_of
from seg_batch.inference.sliding_window.stitch import Stitcher
from seg_batch.inference.wanted.parts import parts_of, reading_parts, seen_for, unit_of, wanted_part
from seg_batch.inference.worker_requirements import ROOM
from seg_batch.io.sinks.work_store import WorkStore
from seg_batch.io.sources.protocol import SourceInfo
from seg_batch.io.sources.tolerant_read import Reader, read_window
from seg_batch.io.sources.views.image_spec import ImageSpec
from seg_batch.io.sources.views.open_view import Seen, open_view
from seg_batch.io.vectors.area import Area

if TYPE_CHECKING:
    from seg_batch.nn.engines.device import Device


@dataclass(frozen=True)
class BlockJob:
    """One run, as it is sent to workers. Paths must mean the same on every worker; ``key`` is
    unique to the run, since the same paths may hold other things in the next. ``profile``: receipts carry spells.
    ``limits``: of ``View.normalised_first``, where there are any. ``pseudonym``: as in ``Request``. ``identity``:
    of an input that each worker finds anew, and not by its path alone: it has to be this one. ``area``: what is wanted of
    a raster; None: all."""

    image: ImageSpec
    model: Model
    plan: Plan
    store: str
    key: str
    profile: bool = False
    limits: np.ndarray | None = None
    pseudonym: Pseudonym | None = None
    identity: dict[str, Any] | None = None
    area: Area | None = None


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Add the time spent to the ``seconds`` of a stage."""
    start = time.perf_counter()
    try:
        with spell(stage):
            yield
    finally:
        seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start


def require_this(info: SourceInfo, identity: dict[str, Any]) -> None:
    """ChangedError unless an input is still the one of the plan."""
    if info.identity != identity:
        raise ChangedError(
            f"{info.path} changed while it was segmented: run the same command again"
        )


class BlockWorker:
    """A job opened in this process."""

    def __init__(self, job: BlockJob) -> None:
        plan = job.plan
        self.job = job
        self.view = open_view(job.image, job.model.card)
        if job.identity is not None:
            require_this(self.view.file.info, job.identity)
        self.store = WorkStore.open(Path(job.store))
        self.taper = Taper(plan.grid, plan.taper)  # once: it covers the whole extent
        self.predictor = load_predictor_of(job.model, plan)
        self.device = device_of(self.predictor, plan.fingerprint, plan.patch, plan.batch)
        self.ids = np.array([c.id for c in job.model.card.classes], plan.label_dtype)
        self.normaliser = self.view.normalised_first(plan.normaliser, job.limits)
        rule = EmptyRule(
            plan.empty_label, plan.skip_below, plan.skip_label, plan.nodata, plan.missing
        )
        rule = rule.seen_in(self.view.decided, job.model.card.background or 0)
        self.empty = replace(rule, area=job.area)
        self.scores = scores_of(job.model.card)
        self.on_tiles: Callable[[int], None] = lambda n: None
        self.stop = threading.Event()
        self._first: tuple[int, float] | None = None
        self._one_call = nullcontext() if job.model.path is None else threading.Lock()

    def close(self) -> None:
        self.view.close()

    def _called(self, patches: np.ndarray) -> np.ndarray:
        """The model's output. The first call in a process is slower than the rest: it is noted."""
        plan, start = self.job.plan, time.perf_counter()
        weights = tuple(card.weights_sha256 for card in self.job.model.cards)
        call = (weights, plan.engine, plan.precision, plan.tta, patches.shape)
        result = self.predictor(patches)
        if call not in _calls:
            _calls.add(call)
            self._first = len(patches), time.perf_counter() - start
        return result

    def _stitcher(self, seconds: dict[str, float]) -> Stitcher:
        plan = self.job.plan

        def predictor(patches: np.ndarray) -> np.ndarray:
            with self._one_call, _timed(seconds, "model"):
                return self._called(patches)

        return Stitcher(
            grid=self.taper.grid,
            taper=self.taper,
            normaliser=self.normaliser,
            predictor=predictor,
            classes=plan.classes,
            rank=plan.rank,
            batch=plan.batch,
            empty=self.empty,
            scores=self.scores,
        )

    def predict(self, block: Block) -> Receipt:
        """Do one block and return its receipt. A block with unreadable parts is written with
        holes, named in ``unreadable``, and not marked as done."""
        start, began = time.perf_counter(), time.time()
        seconds: dict[str, float] = {}
        box = self.view.to_view(block.box)
        with _timed(seconds, "stitch"):
            part = wanted_part(self.job.area, box) or box
            result, probabilities = self._part(part, box, seconds)
        receipt: Receipt = {
            "tiles": result.tiles,
            "skipped": result.skipped,
            "seams": result.seams.to_json(),
            "lost_voxels": sum(hole.intersection(part).size for hole in result.unreadable),
            "unreadable": [str(self.view.to_native(hole)) for hole in result.unreadable],
            "worker": here(),
            "spell": [round(began, 3), round(time.time(), 3)],
        }
        if result.fell_back:
            receipt["fell_back"] = result.fell_back
        native = self.view.from_view(result.labels)
        if probabilities is not None:
            last = self.view.from_view(np.moveaxis(probabilities, 0, -1))
            probabilities = np.moveaxis(last, -1, 0)
        with _timed(seconds, "write"):
            self.store.write(block, native, probabilities, receipt, done=not result.unreadable)
        seconds["stitch"] -= seconds["read"] + seconds.get("model", 0.0)
        seconds["total"] = time.perf_counter() - start
        first, self._first = self._first, None
        if first is not None:
            receipt["first"] = first
        return {**receipt, "seconds": seconds, "peak_rss_bytes": METER.peak_bytes(self.job.key)}

    def _part(
        self, part: Box, box: Box, seconds: dict[str, float]
    ) -> tuple[BlockResult, np.ndarray | None]:
        """The block ``box``, of which a part is predicted: its bytes are the same whatever the block."""
        if part == box:
            return self._predicted(box, seconds)
        result, probabilities = self._predicted(part, seconds)
        here, plan = part.slices(box.start), self.job.plan
        labels = np.full(box.shape, plan.empty_label, result.labels.dtype)
        labels[here] = result.labels
        if probabilities is not None:
            whole = np.zeros((len(probabilities), *box.shape), probabilities.dtype)
            whole[:, *here] = probabilities
            probabilities = whole
        return replace(result, labels=labels), probabilities

    def _reader(self, window: Box, box: Box) -> Reader:
        """Of a window: all of it, or what an area needs of it."""
        area, view = self.job.area, self.view
        if area is None or view.grid is not None:
            return read_window
        seen = seen_for(area, self.taper.grid, box)
        return reading_parts(parts_of(window, seen, unit_of(view.info)), read_window)

    def _predicted(
        self, box: Box, seconds: dict[str, float]
    ) -> tuple[BlockResult, np.ndarray | None]:
        """The block, and its probabilities where the plan keeps them."""

        def read(window: Box, box: Box) -> Seen:
            with _timed(seconds, "read"):
                return self.view.read_with(window, box, self._reader(window, box))

        plan = self.job.plan
        shape = (plan.classes, *box.shape)
        probabilities = np.empty(shape, np.uint8) if plan.keeps_probabilities else None
        if self.device is not None:
            return self._on_device(self.device, read, box, seconds, probabilities), probabilities
        result = predict_block(
            self._stitcher(seconds),
            read,
            box,
            self.ids,
            way_back=self.view.way_back,
            probabilities=probabilities,
            on_tiles=self._on_tiles,
        )
        return result, probabilities

    def _on_device(
        self,
        device: Device,
        read: Read,
        box: Box,
        seconds: dict[str, float],
        probabilities: np.ndarray | None,
    ) -> BlockResult:
        from seg_batch.inference.on_device.block import predict_on_device

        with _timed(seconds, "model"):
            result = predict_on_device(
                *(self._stitcher({}), device, read, box, self.ids),
                probabilities=probabilities,
                on_tiles=self._on_tiles,
            )
        seconds["model"] -= seconds["read"]
        return result

    def _on_tiles(self, tiles: int) -> None:
        if self.stop.is_set():
            raise StoppedError("the run was stopped between two batches")
        self.on_tiles(tiles)


_calls: set[tuple[Any, ...]] = set()  # of models in this process, each kind once
IDLE = 2  # jobs kept open while none of their blocks runs: the inputs of a run take turns


@dataclass
class _OpenJob:
    """One job of this process. ``users``: its blocks that run, or are about to."""

    opening: threading.Lock = field(default_factory=threading.Lock)
    work: BlockWorker | None = None
    users: int = 0


_open: dict[str, _OpenJob] = {}  # in the order of their last use
_guard = threading.RLock()  # of ``_open`` and the counts of users; never held for long


@contextmanager
def open_job(job: BlockJob) -> Iterator[BlockWorker]:
    """The job, opened once in this process, for as long as it is used; few unused ones stay open.
    Opening a job does not block the work at another."""
    with _guard:
        opened = _open.pop(job.key, None)
        if opened is None:
            close_job(keep=IDLE - 1)
        opened = _open.setdefault(job.key, opened or _OpenJob())
        opened.users += 1
    try:
        with opened.opening:
            opened.work = opened.work or BlockWorker(job)
        yield opened.work
    finally:
        with _guard:
            opened.users -= 1


def close_job(keep: int = 0) -> None:
    """Close all jobs without a running block but the ``keep`` used last: several runs may share the
    workers of a cluster."""
    with _guard:
        idle = [key for key, opened in _open.items() if not opened.users]
        for key in idle[: len(idle) - keep]:
            work = _open.pop(key).work
            if work is not None:
                work.close()


def run_block(job: BlockJob, block: Block) -> Receipt:
    """The task: one block of one job, in any process, once its memory fits there."""
    hidden = job.pseudonym
    with recorded(job.profile) as spells, hushed(hidden):
        receipt = _run_block(job, block)
    if hidden is not None:
        receipt = cast(Receipt, told_receipt(hidden, receipt))
    return {**receipt, "spells": spells} if spells else receipt


@spell("block")
def _run_block(job: BlockJob, block: Block) -> Receipt:
    with METER.working(job.key, job.plan), open_job(job) as work, ROOM.for_block(job.plan):
        return work.predict(block)
