"""The verb ``patches``: pairs of image and label become a patch dataset, with the tiler of predict.

The coordinator reads headers, lays out the dataset, measures normalisation, and hands out one
task per pair. What is held out is written as whole regions, as the source has them, so that the
training can be scored by the production stitcher; no training tile touches a voxel of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from seg_batch.errors import InputError
from seg_batch.executors import open_pool, run_bounded
from seg_batch.geometry import Box, Shape
from seg_batch.normalise import Normaliser, Pixels, from_statistics
from seg_batch.recipe import Recipe, read_recipe
from seg_batch.sinks import patches as sink
from seg_batch.sinks.publish import writing_folder
from seg_batch.verbs.cutting import Item, Job, cut_pair, grid_of
from seg_batch.verbs.pairs import Checked, check, find_pairs, open_pair
from seg_batch.version import versions

STATISTICS_BYTES = 64 << 20


class Listener(Protocol):
    """What is told as pairs are cut."""

    def stage(self, name: str) -> None: ...

    def planned(self, total: int) -> None: ...

    def advanced(self, text: str) -> None: ...


class Silent:
    """The listener that does not listen."""

    def stage(self, name: str) -> None: ...

    def planned(self, total: int) -> None: ...

    def advanced(self, text: str) -> None: ...


_COLUMNS = ("start", "case", "split", "histogram")


def make_patches(
    given: list[str],
    output: str | Path,
    recipe: Recipe | str | Path,
    *,
    cluster: str = "auto",
    workers: int = 1,
    overwrite: bool = False,
    listener: Listener | None = None,
) -> dict[str, Any]:
    """Cut the pairs into the dataset ``output``; returns the numbers of what is in it.

    Raises InputError for pairs that do not fit each other or the recipe, OutputError for a
    destination that can't be written; then nothing is left at ``output``.
    """
    listener = listener or Silent()
    recipe = recipe if isinstance(recipe, Recipe) else read_recipe(Path(recipe))
    pairs = find_pairs([str(text) for text in given])
    with writing_folder(Path(output), overwrite, "zarr.json") as folder:
        listener.stage("reading headers")
        checked = [check(pair, recipe) for pair in pairs]
        items = _items(checked, recipe)
        listener.stage("measuring mean and deviation")
        numbers = _measured(items, recipe)
        rows = sum(len(grid_of(item.extent, recipe)) for item in items)
        layout = sink.Layout(
            n=rows,
            patch=recipe.cut.patch,
            channels=len(recipe.card.channels),
            classes=len(recipe.card.classes),
            spatial=len(items[0].extent),
        )
        sink.create(folder, layout, _attributes(recipe, numbers))
        listener.planned(len(items))
        job = Job(str(folder), recipe, numbers)
        receipts = _cut_all(job, items, cluster, workers, listener)
        index = sink.Index(*(np.concatenate([r[key] for r in receipts]) for key in _COLUMNS))
        cases = [_case(c, i, r) for c, i, r in zip(checked, items, receipts, strict=True)]
        sink.write_index(folder, index, cases)
    return _summary(output, recipe, index, cases)


def _items(checked: list[Checked], recipe: Recipe) -> list[Item]:
    _cases_exist(recipe, {one.pair.case for one in checked})
    items: list[Item] = []
    first = 0
    for number, one in enumerate(checked):
        part = recipe.hold_out.part_of(one.pair.case, number)
        items.append(Item(number, one.pair, one.extent, first, part))
        first += len(grid_of(one.extent, recipe))
    if all(item.part for item in items):
        raise InputError("every case is held out, nothing is left to train on: hold out fewer")
    return items


def _cases_exist(recipe: Recipe, cases: set[str]) -> None:
    """A misspelt case would be trained on by somebody who believes it held out."""
    named = {*recipe.hold_out.validation.cases, *recipe.hold_out.test.cases}
    if unknown := sorted(named - cases):
        raise InputError(
            f"the recipe holds out case {unknown[0]}, which no pair is called: correct "
            f"hold_out, or add its pair (the first cases are {', '.join(sorted(cases)[:5])})"
        )


def _measured(items: list[Item], recipe: Recipe) -> Normaliser | None:
    """The numbers of all images together, or None where each has its own."""
    if recipe.card.normalisation == "source":
        return None
    if recipe.card.normalisation == "identity":
        return Normaliser()
    seen = (piece for item in items if item.part is None for piece in _training(item, recipe))
    return from_statistics(seen, len(recipe.card.channels))


def _training(item: Item, recipe: Recipe) -> Iterator[Pixels]:
    """An image in slabs of bounded size, its held-out voxels invalid."""
    image, label = open_pair(item.pair, recipe)
    label.close()
    try:
        held = [box for _, box in recipe.hold_out.boxes_in(item.extent)]
        for slab in _slabs(item.extent, image.info.voxel_bytes):
            pixels = image.read(slab)
            valid = np.ones(pixels.values.shape, bool) if pixels.valid is None else pixels.valid
            valid = valid.copy()
            for box in held:
                part = box.intersection(slab)
                if part.size:
                    valid[part.slices(slab.start)] = False
            yield Pixels(pixels.values, valid, pixels.scale, pixels.offset)
    finally:
        image.close()


def _slabs(extent: Shape, voxel_bytes: int) -> Iterator[Box]:
    """The extent in slabs along its first axis."""
    rest = extent[1:]
    deep = max(1, STATISTICS_BYTES // (voxel_bytes * int(np.prod(rest))))
    for a in range(0, extent[0], deep):
        yield Box((a, *(0 for _ in rest)), (min(a + deep, extent[0]), *rest))


def _attributes(recipe: Recipe, numbers: Normaliser | None) -> dict[str, Any]:
    return {
        "recipe": recipe.model_dump_json(),
        "normaliser": asdict(numbers) if numbers else None,
        "cases": [],
        "versions": versions(),
    }


def _cut_all(
    job: Job, items: list[Item], cluster: str, workers: int, listener: Listener
) -> list[dict[str, Any]]:
    """All pairs, in any order; the receipts in order. The first failure ends it."""
    receipts: dict[int, dict[str, Any]] = {}
    with open_pool(cluster, workers) as pool:
        for outcome in run_bounded(pool, partial(cut_pair, job), items):
            if outcome.error is not None:
                raise outcome.error
            receipts[outcome.item.number] = outcome.result
            listener.advanced(outcome.item.pair.case)
    return [receipts[item.number] for item in items]


def _case(checked: Checked, item: Item, receipt: dict[str, Any]) -> dict[str, Any]:
    return {
        "case": item.pair.case,
        "image": Path(item.pair.image).name,
        "label": Path(item.pair.label).name,
        "extent": list(item.extent),
        "held_out": item.part,
        "normaliser": receipt["normaliser"],
        "identities": checked.identities,
    }


def _summary(
    output: str | Path, recipe: Recipe, index: sink.Index, cases: list[dict[str, Any]]
) -> dict[str, Any]:
    counts = {name: int((index.split == code).sum()) for name, code in sink.CODES.items()}
    voxels = index.histogram[index.split == sink.CODES["training"]].sum(0)
    names = [c.name for c in recipe.card.classes]
    return {
        "output": str(output),
        "cases": len(cases),
        "patches": {**counts, "not_used": int((index.split == sink.UNUSED).sum())},
        "training_voxels": dict(zip(names, map(int, voxels), strict=True)),
    }
