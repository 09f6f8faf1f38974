"""The command ``patches``: pairs of image and label become a patch dataset, with the tiler of predict.

The coordinator reads headers, decides the split, surveys every case (labels, statistics, digests),
creates the arrays of the dataset, and hands out tasks that each write a part of it. Held-out boxes
are written as whole regions in the source's own values, so that a training can be scored by the
production stitcher. No training tile touches a voxel of them, nor of the gap around them. The
dataset grows in a work folder beside the output, so that the same command resumes a killed run.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.config.recipe import Recipe
from seg_batch.config.recipe.card_draft import CardTemplate
from seg_batch.core import events
from seg_batch.core.callbacks import Callback, Callbacks
from seg_batch.core.errors import InputError, OutputError, RefusedError
from seg_batch.core.files import require_free_space
from seg_batch.core.normalise import Normaliser
from seg_batch.core.statistics.histogram import Histogram
from seg_batch.core.statistics.moments import Moments
from seg_batch.core.statistics.schemes import of_foreground
from seg_batch.core.units import show_bytes
from seg_batch.core.versions import versions
from seg_batch.datasets import layout, store
from seg_batch.datasets.cutting import run_task, staged_folder
from seg_batch.datasets.layout import Case, Numbers, Task, TileTask, grid_of
from seg_batch.datasets.plan import DatasetPlan, chosen_recipe, plan_dataset
from seg_batch.datasets.survey import survey_case
from seg_batch.datasets.work_folder import (
    DONE,
    SURVEY,
    DatasetJob,
    PatchWork,
    open_work,
    require_replaceable_dataset,
    work_folder,
)
from seg_batch.executors import Pool, WorkerRequirements, open_pool, run_bounded
from seg_batch.io.sinks.work_store import fingerprint_digest
from seg_batch.io.sources.protocol import AlphaOption


def make_patches(
    given: Iterable[str | Path],
    output: str | Path,
    recipe: Recipe | str | Path,
    *,
    settings: Iterable[str] = (),
    align: str | None = None,
    alpha: AlphaOption = "auto",
    fold: int | None = None,
    cluster: str | Mapping[str, Any] = "auto",
    workers: int = 1,
    overwrite: bool = False,
    reuse: bool = False,
    needed: Iterable[str] = (),
    callback: Callback | None = None,
    task_bytes: int = layout.TASK_BYTES,
) -> dict[str, Any]:
    """Cut the pairs into the dataset ``output``; returns the numbers of what is in it.

    ``settings``: ``part.key=value`` over a recipe file. ``align="nearest"``: labels on another grid
    are brought to their image's. ``alpha``: how bands that images mark as alpha are read. ``fold``: which fold of ``hold_out.folds``. ``reuse``: a finished
    dataset of the same plan is taken as it is, with the rest of this recipe. ``needed``: parts of
    the split that may not be empty. The bytes depend on none of ``cluster``, ``workers`` and
    ``task_bytes``. Raises InputError for pairs that do not fit each other or the recipe, with nothing
    left behind; OutputError for a destination that can't be written; StoreError when another plan was
    begun there. A killed run is resumed.
    """
    callback, output = Callbacks(callback), Path(output)
    if not reuse:
        require_replaceable_dataset(output, overwrite)
    callback.on(events.Stage("reading headers"))
    plan = plan_dataset(given, chosen_recipe(recipe, settings, fold), align, task_bytes, alpha)
    plan.require(needed)
    if reuse and store.adopt_finished(
        output, fingerprint_digest(plan.fingerprint), plan.recipe.model_dump_json()
    ):
        return _summary(output, plan.recipe)
    require_replaceable_dataset(output, overwrite)
    is_resumed = work_folder(output).exists()
    with open_work(output, plan.fingerprint, overwrite) as work:
        if not work.published:
            try:
                with open_pool(cluster, workers, _requirements(plan, output)) as pool:
                    _fill(work, plan, pool, callback)
            except RefusedError:
                if not is_resumed and not work.laid_out:
                    work.remove()
                raise
        summary = _summary(output, plan.recipe)
        work.remove()
    return summary


def _requirements(plan: DatasetPlan, output: Path) -> WorkerRequirements:
    """Workers must see the first pair, which is checked for all pairs, and the output's folder."""
    pair = plan.cases[0].pair
    return WorkerRequirements(
        inputs=(*map(str, pair.images), str(pair.label)), outputs=(str(output.parent),)
    )


def _fill(work: PatchWork, plan: DatasetPlan, pool: Pool, callback: Callback) -> None:
    """From an empty or half-filled work folder to the dataset in its place."""
    job = DatasetJob(work, plan.recipe, plan.align)
    callback.on(events.Stage("surveying labels and statistics"))
    surveys = _surveyed(job, plan.cases, pool, callback)
    _require_apart(plan, [s["sha256"] for s in surveys])
    _require_classes(plan.recipe, np.sum([s["training"] for s in surveys], axis=0))
    shared, numbers = _numbers(plan, surveys)
    regions = [
        layout.regions_of(case, plan.recipe, own, survey)
        for case, own, survey in zip(plan.cases, numbers, surveys, strict=True)
    ]
    all_regions = list(chain.from_iterable(regions))
    tasks = _tasks(plan, numbers, regions)
    if not work.laid_out:
        work.forget()
    receipts = work.receipts(DONE)
    waiting = [task for task in tasks if task.name not in receipts]
    _require_room(work, plan, all_regions, len(waiting), len(tasks))
    if not work.laid_out:
        store.create(work.dataset, plan.layout, all_regions)
        work.lay_out()
    callback.on(events.Stage("cutting"))
    _cut(job, waiting, receipts, pool, callback)
    index = _index(plan, tasks, receipts)
    _require_classes(plan.recipe, index.histogram[index.split == store.CODES["training"]].sum(0))
    callback.on(events.Stage("moving the dataset into place"))
    store.finish(work.dataset, index, _attributes(work, plan, shared, numbers, surveys))
    work.publish()


def _run(
    pool: Pool,
    function: Callable[[Any], dict[str, Any]],
    items: list[Any],
    receipts: dict[str, Any],
    callback: Callback,
) -> Iterator[Case]:
    """Run the items in any order, add what they return to ``receipts`` by name, and yield the case of
    each. The first failure is raised."""
    callback.on(events.StepsPlanned(len(items)))
    for outcome in run_bounded(pool, function, items):
        if outcome.error is not None:
            raise outcome.error
        receipts[outcome.item.name] = outcome.result
        case = outcome.item if isinstance(outcome.item, Case) else outcome.item.case
        yield case
        callback.on(events.Advanced(text=case.pair.case))


def _surveyed(
    job: DatasetJob, cases: list[Case], pool: Pool, callback: Callback
) -> list[dict[str, Any]]:
    """The survey of each case, in order; those of an earlier run are not made again."""
    surveys = job.work.receipts(SURVEY)
    waiting = [case for case in cases if case.name not in surveys]
    for _ in _run(pool, partial(survey_case, job), waiting, surveys, callback):
        pass
    return [surveys[case.name] for case in cases]


def _cut(
    job: DatasetJob, tasks: list[Task], receipts: dict[str, Any], pool: Pool, callback: Callback
) -> None:
    """Do the tasks. The uncompressed copies of a case are removed after its last task."""
    open_tasks = {n: len(list(some)) for n, some in groupby(tasks, key=lambda t: t.case.number)}
    for case in _run(pool, partial(run_task, job), tasks, receipts, callback):
        open_tasks[case.number] -= 1
        if open_tasks[case.number] == 0:
            shutil.rmtree(staged_folder(job.work.path, case), ignore_errors=True)


def _require_apart(plan: DatasetPlan, digests: list[dict[str, str]]) -> None:
    """InputError when one image is two cases of which not the same voxels are held out."""
    first: dict[tuple[str, ...], Case] = {}
    for case, files in zip(plan.cases, digests, strict=True):
        image = tuple(digest for name, digest in files.items() if name != "label")
        other = first.setdefault(image, case) if len(image) == len(case.pair.images) else case
        if other.held != case.held:
            raise InputError(
                f"the cases {other.pair.case} and {case.pair.case} are the same image, and not the "
                "same of it is held out, so scores would be of what training has seen: leave one out"
            )


def _require_classes(recipe: Recipe, voxels: np.ndarray) -> None:
    """InputError unless training can see at least two classes."""
    seen = [c.name for c, n in zip(recipe.card.classes, voxels, strict=True) if n]
    if len(seen) < 2:
        only = f"only the class {seen[0]}" if seen else "no class at all"
        raise InputError(
            f"the training part shows {only}, nothing can be told apart by it: hold out less, or "
            "add cases"
        )


def _numbers(
    plan: DatasetPlan, surveys: list[dict[str, Any]]
) -> tuple[Normaliser | None, list[Numbers]]:
    """The normaliser that all cases share (None where each has its own), and those of each case."""
    card = plan.recipe.card
    if card.per_image:
        both = [(s["training_normaliser"], s["normaliser"]) for s in surveys]
        return None, [Numbers(*map(Normaliser.from_json, pair)) for pair in both]
    shared = Normaliser()
    if card.normalisation != "identity":
        shared = _measured(card, surveys)
    return shared, [Numbers(shared, shared)] * len(surveys)


def _measured(card: CardTemplate, surveys: list[dict[str, Any]]) -> Normaliser:
    """The numbers of all that training may see."""
    moments = Moments.of((), len(card.channels))
    for survey in surveys:
        moments.merge(Moments(*map(np.array, survey["moments"])))
    if card.normalisation == "card":
        return moments.normaliser()
    values = [Histogram() for _ in card.channels]
    for survey in surveys:
        for channel, part in zip(values, survey["values"], strict=True):
            channel.merge(Histogram.from_json(part))
    return of_foreground(moments, values, card.channel_names)


def _tasks(
    plan: DatasetPlan, numbers: list[Numbers], regions: list[list[store.RegionSpec]]
) -> list[Task]:
    """All tasks, case by case; those of a compressed case share its uncompressed copy."""
    tasks: list[Task] = []
    for case, own, codes, held in zip(plan.cases, numbers, plan.codes, regions, strict=True):
        of_case: list[Task] = [
            *layout.tile_tasks(case, plan.recipe, own, codes, plan.task_bytes),
            *(t for r in held for t in layout.region_tasks(case, r, plan.recipe, plan.task_bytes)),
        ]
        shared = case.compressed and len(of_case) > 1
        tasks += [replace(task, shared=shared) for task in of_case]
    return tasks


def _require_room(
    work: PatchWork, plan: DatasetPlan, regions: list[store.RegionSpec], waiting: int, tasks: int
) -> None:
    """OutputError unless what the ``waiting`` of all ``tasks`` write fits, before compression."""
    rows = sum(int((codes != store.UNUSED).sum()) for codes in plan.codes)
    size = rows * plan.layout.patch_bytes + sum(
        region.bytes(plan.layout.channels, plan.layout.classes) for region in regions
    )
    size = size * waiting // tasks
    try:
        require_free_space(work.path, size)
    except OSError:
        free = shutil.disk_usage(work.path).free
        raise OutputError(
            f"the dataset takes up to {show_bytes(size)} and {show_bytes(free)} are free at "
            f"{work.output.parent}: make room, cut with less overlap, or choose another output"
        ) from None


def _index(plan: DatasetPlan, tasks: list[Task], receipts: dict[str, Any]) -> store.RowIndex:
    bands = [receipts[task.name] for task in tasks if isinstance(task, TileTask)]
    histogram = np.concatenate([np.array(band["histogram"], np.int64) for band in bands])
    starts = [[tile.box.start for tile in grid_of(case.extent, plan.recipe)] for case in plan.cases]
    cases = [np.full(len(s), c.number, np.int32) for s, c in zip(starts, plan.cases, strict=True)]
    voxels = int(np.prod(plan.recipe.cut.patch))
    return store.RowIndex(
        start=np.concatenate([np.array(s, np.int64) for s in starts]),
        case=np.concatenate(cases),
        split=np.concatenate([np.array(band["split"], np.uint8) for band in bands]),
        histogram=histogram,
        valid=(histogram.sum(1) / voxels).astype(np.float32),
    )


def _attributes(
    work: PatchWork,
    plan: DatasetPlan,
    shared: Normaliser | None,
    numbers: list[Numbers],
    surveys: list[dict[str, Any]],
) -> dict[str, Any]:
    """The dataset's metadata: everything ``train`` needs, and the sources."""
    return {
        "recipe": plan.recipe.model_dump_json(),
        "normaliser": asdict(shared) if shared else None,
        "cases": [
            {
                "case": case.pair.case,
                "image": " | ".join(Path(path).name for path in case.pair.images),
                "label": Path(case.pair.label).name,
                "extent": list(case.extent),
                "held_out": case.whole,
                "normaliser": asdict(own.held),
                "training_normaliser": asdict(own.training),
                "identities": case.identities,
                "sha256": survey["sha256"],
                "seen": survey["seen"],
            }
            for case, own, survey in zip(plan.cases, numbers, surveys, strict=True)
        ],
        "split": plan.split.stated(),
        "align": plan.align,
        "fingerprint": work.digest,
        "versions": versions(),
    }


def _summary(output: Path, recipe: Recipe) -> dict[str, Any]:
    """Counted in the finished dataset itself."""
    split, histogram, cases = store.counted(output)
    counts = {name: int((split == code).sum()) for name, code in store.CODES.items()}
    voxels = histogram[split == store.CODES["training"]].sum(0)
    names = [c.name for c in recipe.card.classes]
    return {
        "output": str(output),
        "cases": cases,
        "patches": {**counts, "not_used": int((split == store.UNUSED).sum())},
        "training_voxels": dict(zip(names, map(int, voxels), strict=True)),
    }
