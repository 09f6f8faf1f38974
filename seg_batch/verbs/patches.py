"""The verb ``patches``: pairs of image and label become a patch dataset, with the tiler of predict.

The coordinator reads headers, lays out the dataset, measures normalisation, and hands out one
task per pair. What is held out is written as whole regions, as the source has them, so that the
training can be scored by the production stitcher; no training tile touches a voxel of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from seg_batch.errors import InputError
from seg_batch.executors import open_pool, run_bounded
from seg_batch.geometry import Box, Grid, Shape, Tile
from seg_batch.normalise import Normaliser, Pixels, from_statistics
from seg_batch.recipe import Recipe, read_recipe
from seg_batch.sinks import patches as sink
from seg_batch.sources import pieces
from seg_batch.sources.view import Oriented
from seg_batch.stitch import cut
from seg_batch.verbs.pairs import Checked, Pair, check, find_pairs, open_pair
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


@dataclass(frozen=True)
class Item:
    """One task: a pair, where its rows begin, and the part it is held out for, if whole."""

    number: int
    pair: Pair
    extent: Shape
    first_row: int
    part: str | None


@dataclass(frozen=True)
class Job:
    """What all tasks share. ``normaliser`` is None where each image has its own."""

    store: str
    recipe: Recipe
    normaliser: Normaliser | None


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
    with sink.being_written(Path(output), overwrite) as folder:
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


_COLUMNS = ("start", "case", "split", "histogram")


def grid_of(extent: Shape, recipe: Recipe) -> Grid:
    """The tiles of the dataset; those of a 2-D recipe on volumes are one slice thick."""
    lead = len(extent) - recipe.card.rank
    patch, overlap = (1,) * lead + recipe.cut.patch, (0,) * lead + recipe.cut.overlap
    try:
        return Grid(extent, patch, overlap, (0,) * len(extent))
    except ValueError as error:
        raise InputError(f"the cut of the recipe makes no grid: {error}") from None


def _items(checked: list[Checked], recipe: Recipe) -> list[Item]:
    items: list[Item] = []
    first = 0
    for number, one in enumerate(checked):
        part = recipe.hold_out.part_of(one.pair.case, number)
        items.append(Item(number, one.pair, one.extent, first, part))
        first += len(grid_of(one.extent, recipe))
    if all(item.part for item in items):
        raise InputError("every case is held out, nothing is left to train on: hold out fewer")
    return items


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


def cut_pair(job: Job, item: Item) -> dict[str, Any]:
    """The task: all tiles and held-out regions of one pair; returns the columns of its rows."""
    recipe, writer = job.recipe, sink.Writer(Path(job.store))
    image, label = open_pair(item.pair, recipe)
    try:
        normaliser = job.normaliser
        if normaliser is None:
            normaliser = from_statistics(pieces(image.source), len(image.info.channels))
        parts = [(item.part, Box.whole(item.extent))] if item.part else None
        held = parts or recipe.hold_out.boxes_in(item.extent)
        columns = _cut_tiles(writer, image, label, item, recipe, normaliser, held)
        for k, (part, box) in enumerate(held):
            _write_region(writer, image, label, item, recipe, normaliser, (k, part, box))
        return {**columns, "normaliser": asdict(normaliser)}
    finally:
        image.close()
        label.close()


def _cut_tiles(
    writer: sink.Writer,
    image: Oriented,
    label: Oriented,
    item: Item,
    recipe: Recipe,
    normaliser: Normaliser,
    held: list[tuple[str, Box]],
) -> dict[str, np.ndarray]:
    grid, classes = grid_of(item.extent, recipe), len(recipe.card.classes)
    n = len(grid)
    split = np.full(n, sink.UNUSED, np.uint8)
    histogram = np.zeros((n, classes), np.int64)
    row = 0
    for _, tiles in groupby(grid, key=lambda tile: tile.index[0]):
        for tile, pixels, target in _cut_row(image, label, list(tiles), item.extent, recipe):
            counts = np.bincount(target[target < classes], minlength=classes)
            code = part_code(tile.box.intersection(Box.whole(item.extent)), held)
            if code != sink.UNUSED and counts.any():
                split[row], histogram[row] = code, counts
                shape = recipe.cut.patch
                patch = normaliser(pixels).reshape(*shape, -1)
                writer.patch(item.first_row + row, patch, target.reshape(shape))
            row += 1
    start = np.array([tile.box.start for tile in grid], np.int64)
    case = np.full(n, item.number, np.int32)
    return {"start": start, "case": case, "split": split, "histogram": histogram}


def _cut_row(
    image: Oriented, label: Oriented, tiles: list[Tile], extent: Shape, recipe: Recipe
) -> Iterator[tuple[Tile, Pixels, np.ndarray]]:
    """Tiles that begin on one row, from one read: image pixels and class indices of each."""
    box = tiles[0].box.union(tiles[-1].box).intersection(Box.whole(extent))
    held = image.read(box)
    truth = Pixels(targets(label.read(box), held, recipe, label.info.path)[..., None])
    for tile in tiles:
        pixels = cut(held, box, tile.box, extent)
        yield tile, pixels, cut(truth, box, tile.box, extent).values[..., 0]


def part_code(box: Box, held: list[tuple[str, Box]]) -> int:
    """Training when the tile touches nothing held out; the part's code when it lies inside one
    held-out box; else not used."""
    touched = [(part, other) for part, other in held if other.touches(box)]
    if not touched:
        return sink.CODES["training"]
    part, other = touched[0]
    return sink.CODES[part] if len(touched) == 1 and other.contains(box) else sink.UNUSED


def targets(labels: Pixels, image: Pixels, recipe: Recipe, path: str) -> np.ndarray:
    """Label values as class indices; ignored where the label has no class or the image no data.

    Raises InputError for values that are neither a class nor listed as ignored.
    """
    ids = np.array([c.id for c in recipe.card.classes])
    order = np.argsort(ids)
    values = labels.physical(np.float64)[..., 0]
    place = np.clip(np.searchsorted(ids[order], values), 0, len(ids) - 1)
    known = ids[order][place] == values
    skipped = np.isin(values, recipe.cut.ignore)
    if labels.valid is not None:
        skipped |= ~labels.valid[..., 0]
    odd = ~known & ~skipped
    if odd.any():
        found = ", ".join(f"{v:g}" for v in np.unique(values[odd])[:5])
        raise InputError(
            f"{path} has label values that are no class of the recipe ({found}, {odd.sum()} "
            "voxels): add them to card.classes, or to cut.ignore"
        )
    out = order[place].astype(sink.label_dtype(len(ids)))
    out[skipped | ~image.any_valid()] = sink.ignore_label(len(ids))
    return out


def _write_region(
    writer: sink.Writer,
    image: Oriented,
    label: Oriented,
    item: Item,
    recipe: Recipe,
    normaliser: Normaliser,
    held: tuple[int, str, Box],
) -> None:
    """A held-out box with a patch more on each side, which its tiles reach into."""
    k, part, box = held
    lead = len(item.extent) - recipe.card.rank
    reach = (1,) * lead + recipe.card.patch
    around = Box(
        tuple(a - p for a, p in zip(box.start, reach, strict=True)),
        tuple(b + p for b, p in zip(box.stop, reach, strict=True)),
    ).intersection(Box.whole(item.extent))
    one = image.read(Box(box.start, tuple(a + 1 for a in box.start)))
    facts = {
        "case": item.pair.case,
        "part": part,
        "extent": list(item.extent),
        "box": [list(box.start), list(box.stop)],
        "scale": one.scale,
        "offset": one.offset,
        "normaliser": asdict(normaliser),
    }
    channels = len(image.info.channels)
    region = writer.region(f"{item.number}.{k}", around, image.info.dtype, channels, facts)
    for piece in region.boxes():
        pixels = image.read(piece)
        truth = targets(label.read(piece), pixels, recipe, label.info.path)
        region.write(piece, pixels, truth)


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
