"""One task of ``patches``: all tiles and all held-out regions of one pair, written to the dataset.

Tiles are cut and normalised by the very functions of ``predict``, from one read per row of tiles.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.errors import InputError
from seg_batch.geometry import Box, Grid, Shape, Tile
from seg_batch.normalise import Normaliser, Pixels, from_statistics
from seg_batch.recipe import Recipe
from seg_batch.sinks import patches as sink
from seg_batch.sources import pieces
from seg_batch.sources.view import Oriented
from seg_batch.stitch import cut
from seg_batch.verbs.pairs import Pair, open_pair


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


def grid_of(extent: Shape, recipe: Recipe) -> Grid:
    """The tiles of the dataset; those of a 2-D recipe on volumes are one slice thick."""
    lead = len(extent) - recipe.card.rank
    patch, overlap = (1,) * lead + recipe.cut.patch, (0,) * lead + recipe.cut.overlap
    try:
        return Grid(extent, patch, overlap, (0,) * len(extent))
    except ValueError as error:
        raise InputError(f"the cut of the recipe makes no grid: {error}") from None


def cut_pair(job: Job, item: Item) -> dict[str, Any]:
    """The task: all tiles and held-out regions of one pair; returns the columns of its rows."""
    recipe, writer = job.recipe, sink.Writer(Path(job.store))
    image, label = open_pair(item.pair, recipe)
    try:
        require_classes(label, recipe)
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
    truth = Pixels(targets(label.read(box), held, recipe)[..., None])
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


def targets(labels: Pixels, image: Pixels, recipe: Recipe) -> np.ndarray:
    """Label values as class indices; ignored where the label has no class or the image no data."""
    ids = np.array([c.id for c in recipe.card.classes])
    order = np.argsort(ids)
    values = labels.physical(np.float64)[..., 0]
    place = np.clip(np.searchsorted(ids[order], values), 0, len(ids) - 1)
    out = order[place].astype(sink.label_dtype(len(ids)))
    out[ignored(labels, recipe) | ~image.any_valid()] = sink.ignore_label(len(ids))
    return out


def ignored(labels: Pixels, recipe: Recipe) -> np.ndarray:
    """Where a label says nothing: nodata, or a value that the recipe lists."""
    skipped = np.isin(labels.physical(np.float64)[..., 0], recipe.cut.ignore)
    return skipped if labels.valid is None else skipped | ~labels.valid[..., 0]


def require_classes(label: Oriented, recipe: Recipe) -> None:
    """One pass over the label: InputError when it has values that are no class of the recipe."""
    ids, odd = [c.id for c in recipe.card.classes], Counter[float]()
    for piece in pieces(label.source):
        values = piece.physical(np.float64)[..., 0][~ignored(piece, recipe)]
        strange = values[~np.isin(values, ids)]
        odd.update(
            dict(zip(*map(np.ndarray.tolist, np.unique(strange, return_counts=True)), strict=True))
        )
    if odd:
        found = ", ".join(f"{value:g}" for value in sorted(odd)[:5])
        raise InputError(
            f"{label.info.path} has label values that are no class of the recipe ({found}, "
            f"{odd.total()} voxels): add them to card.classes, or to cut.ignore"
        )


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
        truth = targets(label.read(piece), pixels, recipe)
        region.write(piece, pixels, truth)
