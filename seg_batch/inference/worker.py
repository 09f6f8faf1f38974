"""The work of one process: blocks of one run, read, predicted, stitched and written.

Everything a task needs is in its :class:`BlockJob`, so that any process can do any block, twice if it
must (law 3). A process opens a job once and keeps it warm for the next block.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from seg_batch.config.predict_options import PredictOptions
from seg_batch.core.errors import BundleError, StoppedError
from seg_batch.core.geometry import Block, Box
from seg_batch.core.hardware import here, peak_rss_bytes
from seg_batch.core.normalise import Pixels
from seg_batch.core.taper import Taper
from seg_batch.inference.bundles import Model
from seg_batch.inference.ensemble import average, decimated
from seg_batch.inference.plan import Plan
from seg_batch.inference.sliding_window.block import BlockResult, Receipt, predict_block
from seg_batch.inference.sliding_window.stitch import EmptyRule, Predictor, Stitcher
from seg_batch.inference.sliding_window.tta import averaged
from seg_batch.inference.worker_requirements import ROOM
from seg_batch.io.sinks.work_store import WorkStore
from seg_batch.io.sources.tolerant_read import read_window
from seg_batch.io.sources.views.open_view import ImageSpec, open_view


@dataclass(frozen=True)
class BlockJob:
    """One run, as a worker is told of it. Paths must mean the same on every worker; ``key`` is
    this run's alone, since the same paths may hold other things in the next."""

    image: ImageSpec
    model: Model
    plan: Plan
    store: str
    key: str


@dataclass
class _Clock:
    """Seconds spent per stage of one block."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + spent


def load(model: Model, settled: Plan | PredictOptions) -> Predictor:
    """The predictor of a model in this process: the mean of its members, averaged over views, for
    patches on the grid of its output."""
    members = [_loaded(member, settled) for member in model.all]
    return decimated(averaged(average(members), settled.tta), model.card.finer)


def _loaded(model: Model, settled: Plan | PredictOptions) -> Predictor:
    """One member; a bundle is loaded once in a process, behind a lock."""
    if model.function is not None:
        return model.function
    from seg_batch.nn.engines import load_predictor

    loaded = load_predictor(
        model.weights,
        engine=settled.engine,
        batch=settled.batch or 1,
        precision=settled.precision,
        sha256=model.card.weights_sha256,
    )
    if loaded.classes != len(model.card.classes):
        raise BundleError(
            f"{model.weights} tells {loaded.classes} classes apart and its card names "
            f"{len(model.card.classes)}, so no map could be made: get the bundle again"
        )
    return loaded


class BlockWorker:
    """A job opened in this process."""

    def __init__(self, job: BlockJob) -> None:
        plan = job.plan
        self.job = job
        self.view = open_view(job.image, job.model.card)
        self.store = WorkStore.open(Path(job.store))
        self.taper = Taper(plan.grid, plan.taper)  # once: it is of the whole extent
        self.predictor = load(job.model, plan)
        self.ids = np.array([c.id for c in job.model.card.classes], plan.label_dtype)
        self.empty = EmptyRule(plan.empty_label, plan.skip_below, plan.skip_label, plan.nodata)
        self.on_tiles: Callable[[int], None] = lambda n: None
        self.stop = threading.Event()
        self._one_call = nullcontext() if job.model.path is None else threading.Lock()

    def close(self) -> None:
        self.view.close()

    def _stitcher(self, clock: _Clock) -> Stitcher:
        plan = self.job.plan

        def predictor(patches: np.ndarray) -> np.ndarray:
            with self._one_call, clock.stage("model"):
                return self.predictor(patches)

        return Stitcher(
            grid=self.taper.grid,
            taper=self.taper,
            normaliser=plan.normaliser,
            predictor=predictor,
            classes=plan.classes,
            rank=plan.rank,
            batch=plan.batch,
            empty=self.empty,
        )

    def predict(self, block: Block) -> Receipt:
        """Do one block and return its receipt. A block with unreadable parts is written with
        holes, named in ``unreadable``, and not marked as done."""
        start, began = time.perf_counter(), time.time()
        clock = _Clock()
        box = self.view.to_view(block.box)
        with clock.stage("stitch"):
            found, probabilities = self._predicted(box, clock)
        receipt = self._receipt(found, box)
        receipt["spell"] = [round(began, 3), round(time.time(), 3)]
        native = self.view.from_view(found.labels)
        if probabilities is not None:
            last = self.view.from_view(np.moveaxis(probabilities, 0, -1))
            probabilities = np.moveaxis(last, -1, 0)
        with clock.stage("write"):
            self.store.write(block, native, probabilities, receipt, done=not found.unreadable)
        clock.seconds["stitch"] -= clock.seconds["read"] + clock.seconds.get("model", 0.0)
        clock.seconds["total"] = time.perf_counter() - start
        return {**receipt, "seconds": clock.seconds, "peak_rss_bytes": peak_rss_bytes()}

    def _predicted(self, box: Box, clock: _Clock) -> tuple[BlockResult, np.ndarray | None]:
        """The block, and its probabilities where the plan keeps them."""

        def read(window: Box) -> tuple[Pixels, list[Box]]:
            with clock.stage("read"):
                return read_window(self.view, window)

        plan = self.job.plan
        shape = (plan.classes, *box.shape)
        probabilities = np.empty(shape, np.uint8) if plan.keeps_probabilities else None
        found = predict_block(
            self._stitcher(clock),
            read,
            box,
            self.ids,
            probabilities=probabilities,
            on_tiles=self._ticked,
        )
        return found, probabilities

    def _receipt(self, found: BlockResult, box: Box) -> Receipt:
        """Less ``spell``: in unix seconds, all but the writing."""
        return {
            "tiles": found.tiles,
            "skipped": found.skipped,
            "seams": found.seams.to_json(),
            "lost_voxels": sum(hole.intersection(box).size for hole in found.unreadable),
            "unreadable": [str(self.view.to_native(hole)) for hole in found.unreadable],
            "worker": here(),
        }

    def _ticked(self, tiles: int) -> None:
        if self.stop.is_set():
            raise StoppedError("the run was stopped between two batches")
        self.on_tiles(tiles)


IDLE = 2  # jobs kept open of which no block runs: those of a night take turns


@dataclass
class _Door:
    """One job of this process. ``users``: blocks being done right now, or about to be."""

    opening: threading.Lock = field(default_factory=threading.Lock)
    work: BlockWorker | None = None
    users: int = 0


_open: dict[str, _Door] = {}  # the one used last stands last
_guard = (
    threading.RLock()
)  # of what is open in this process, and of who uses it; never held for long


@contextmanager
def open_job(job: BlockJob) -> Iterator[BlockWorker]:
    """The job, opened once in this process, for as long as it is used; of the others few stay open. To
    open one holds up nobody who works at another."""
    with _guard:
        door = _open.pop(job.key, None)
        if door is None:
            close_job(keep=IDLE - 1)
        door = _open.setdefault(job.key, door or _Door())
        door.users += 1
    try:
        with door.opening:
            door.work = door.work or BlockWorker(job)
        yield door.work
    finally:
        with _guard:
            door.users -= 1


def close_job(keep: int = 0) -> None:
    """Close all jobs of which no block runs but the ``keep`` used last: several runs may share the
    workers of a cluster."""
    with _guard:
        idle = [key for key, door in _open.items() if not door.users]
        for key in idle[: len(idle) - keep]:
            work = _open.pop(key).work
            if work is not None:
                work.close()


def run_block(job: BlockJob, block: Block) -> Receipt:
    """The task: one block of one job, in whatever process it lands, when there is room for it."""
    with open_job(job) as work, ROOM.for_block(job.plan):
        return work.predict(block)
