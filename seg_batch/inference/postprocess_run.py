"""The chain over a work store: from the labels as predicted to the labels of the product.

Every step reads one map of the store and writes another. A step is done when ``done/steps.json`` says so,
after all of its chunks; a killed run repeats the step that it was in, and no other. Predictions
stay as they are: another chain, or blocks that failed and are done later, begin with them.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.config.postprocess import AnyStep, chain_to_json, describe
from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import SegbatchError
from seg_batch.core.geometry import Block, Box, Shape
from seg_batch.core.spells import spell
from seg_batch.executors import Pool, run_bounded
from seg_batch.inference.postprocess.costs import blocks_of, threads_for
from seg_batch.inference.postprocess.label_context import LabelContext
from seg_batch.inference.report import PostStepRow
from seg_batch.inference.worker import BlockJob
from seg_batch.io.sinks.work_store import WorkStore
from seg_batch.io.sources.tolerant_read import read_window
from seg_batch.io.sources.views.open_view import open_view

PREDICTED = "labels"


@dataclass(frozen=True)
class MappedLabels:
    """The map that becomes the product, and one row per step for the report."""

    name: str = PREDICTED
    steps: tuple[PostStepRow, ...] = ()


@dataclass(frozen=True)
class WorkStoreLabels:
    """A ``block_passes.LabelStore`` of a work store: the map ``before`` is read, the map ``after``
    written. It is sent to the workers as paths and numbers; each opens the store itself."""

    job: BlockJob
    before: str
    after: str

    @cached_property
    def _store(self) -> WorkStore:
        return WorkStore.open(Path(self.job.store))

    def __reduce__(self) -> tuple[Any, ...]:
        return WorkStoreLabels, (self.job, self.before, self.after)

    @property
    def extent(self) -> Shape:
        return self.job.plan.extent

    @property
    def spacing(self) -> tuple[float, ...]:
        return self._store.spec.georef.spacing

    def labels(self, box: Box) -> np.ndarray:
        return self._store.read_labels(box, self.before)

    def probabilities(self, box: Box) -> np.ndarray:
        return self._store.read_probabilities(box)

    def image(self, box: Box) -> tuple[np.ndarray, np.ndarray | None]:
        """The input as the model saw it, in the file's own axes; what can't be read is not valid."""
        with open_view(self.job.image, self.job.model.card) as view:
            pixels, _ = read_window(view.native, box)
        valid = None if pixels.valid is None else pixels.with_data(self.job.plan.missing)
        if self.job.area is not None:
            mask = self.job.area.mask(box)
            valid = mask if valid is None else valid & mask
        return self.job.plan.normaliser(pixels), valid

    def write(self, block: Block, labels: np.ndarray) -> None:
        self._store.write_map(self.after, block, labels)


def post_process(job: BlockJob, store: WorkStore, pool: Pool, callback: Callback) -> MappedLabels:
    """Do the steps of the plan that are not done yet, each over all blocks.

    Where blocks are missing in the store there is no data, and objects end there.
    SegbatchError when a block of a step can't be done.
    """
    chain = job.plan.chain
    basis = _basis(store, job.plan.blocks)
    name, rows = _done_before(store, basis, chain)
    store.drop_maps(keep=name)
    context = LabelContext.of(job.model.card, store.spec.georef, store.spec.extent)
    blocks = blocks_of(job.plan.extent, store.spec.chunk)
    threads = threads_for(pool.workers)
    for step in chain[len(rows) :]:
        from seg_batch.inference.postprocess.run import run_step  # with SciPy, for a chain alone

        callback.on(events.Stage(describe(step)))
        start = time.perf_counter()
        after = store.new_map()
        labels = WorkStoreLabels(job, name, after)
        with spell(step.step):
            change = run_step(step, labels, context, blocks, partial(_in_pool, pool), threads)
        row: PostStepRow = {
            "step": chain_to_json([step])[0],
            "words": describe(step),
            "voxels_changed": change.voxels,
            "objects_changed": change.objects,
            "seconds": round(time.perf_counter() - start, 3),
        }
        rows = [*rows, row]
        store.note_steps({"basis": basis, "map": after, "steps": rows})
        name = after
        store.drop_maps(keep=name)
    return MappedLabels(name, tuple(rows))


def _basis(store: WorkStore, blocks: int) -> str | None:
    """A digest of all predicted labels, with which the steps begin; None while blocks are missing,
    since the labels in the store may then change."""
    receipts = store.receipts()
    if len(receipts) < blocks:
        return None
    checksums = sorted((name, receipt["crc32"]) for name, receipt in receipts.items())
    return hashlib.sha256(json.dumps(checksums).encode()).hexdigest()


def _done_before(
    store: WorkStore, basis: str | None, chain: tuple[AnyStep, ...]
) -> tuple[str, list[PostStepRow]]:
    """The last map that an earlier run wrote, and the rows of its steps; else the predicted map."""
    noted = store.steps()
    rows = noted.get("steps", [])
    steps = [row["step"] for row in rows]
    if basis is None or noted.get("basis") != basis or not store.has_map(noted["map"]):
        return PREDICTED, []
    if steps != list(chain_to_json(chain[: len(steps)])):
        return PREDICTED, []
    return noted["map"], rows


def _call(function: Callable[[Any], Any], item: Any) -> Any:
    return function(item)  # pools name a task after its function: a name, not a value's text


def _in_pool(pool: Pool, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    for outcome in run_bounded(pool, partial(_call, function), items):
        if isinstance(outcome.error, SegbatchError):
            raise outcome.error
        if outcome.error is not None:
            raise SegbatchError(
                f"a step after prediction failed ({type(outcome.error).__name__}: {outcome.error}); "
                "run the same command again, or with --post none"
            ) from outcome.error
        yield outcome.result
