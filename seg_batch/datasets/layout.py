"""The grid of every case, its rows in the dataset, and tasks of bounded size, decided before cutting.

A task is a band of rows of tiles, or of rows of chunks in a held-out region, so that one large scene
is cut by many workers and a killed run loses little.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np

from seg_batch.config.recipe import Recipe
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box, Grid, Shape, Tile
from seg_batch.core.normalise import Normaliser
from seg_batch.datasets import store
from seg_batch.datasets.pairs import CheckedPair
from seg_batch.datasets.split import Held, Split

TASK_BYTES = 64 << 20


@dataclass(frozen=True)
class Case(CheckedPair):
    """A pair in the dataset. ``first_row``: where its rows begin. ``held``: what is held out of it;
    ``whole``: the part that all of it is held out for. ``gap``: voxels between these and any tile."""

    number: int
    first_row: int
    whole: str | None
    held: tuple[Held, ...]
    gap: Shape

    @property
    def name(self) -> str:
        """Of its survey."""
        return str(self.number)


@dataclass(frozen=True)
class Numbers:
    """The normalisers of a case: of its training patches, and of what is held out of it."""

    training: Normaliser
    held: Normaliser


@dataclass(frozen=True)
class TileTask:
    """The tiles of a case whose index on the first axis is ``first <= i < last``."""

    case: Case
    numbers: Numbers
    first: int
    last: int
    shared: bool = False

    @property
    def name(self) -> str:
        return f"tiles.{self.case.number}.{self.first}"


@dataclass(frozen=True)
class RegionTask:
    """The rows ``first <= i < last`` of the chunks of a held-out region."""

    case: Case
    region: store.RegionSpec
    first: int
    last: int
    shared: bool = False

    @property
    def name(self) -> str:
        return f"held.{self.region.name}.{self.first}"


type Task = TileTask | RegionTask


def full_rank(sides: Shape, axes: int, lead: int) -> Shape:
    """``sides`` of the model with ``lead`` for axes that it does not have (slices of a volume)."""
    return (lead,) * (axes - len(sides)) + sides


def grid_of(extent: Shape, recipe: Recipe) -> Grid:
    """The tiles of the dataset; those of a 2-D recipe on volumes are one slice thick."""
    axes, cut = len(extent), recipe.cut
    patch, overlap = full_rank(cut.patch, axes, 1), full_rank(cut.overlap, axes, 0)
    try:
        return Grid(extent, patch, overlap, (0,) * axes)
    except ValueError as error:
        raise InputError(f"the cut of the recipe makes no grid: {error}") from None


def part_code(box: Box, held: tuple[Held, ...] | list[Held], gap: Shape | None = None) -> int:
    """Training when the tile touches nothing held out nor its gap; the part's code when it lies
    inside one held-out box; else not used."""
    gap = gap or (0,) * len(box.start)
    near = [(part, other) for part, other in held if other.grown(gap).touches(box)]
    if not near:
        return store.CODES["training"]
    touched = [(part, other) for part, other in near if other.touches(box)]
    if len(touched) != 1:
        return store.UNUSED
    part, other = touched[0]
    return store.CODES[part] if other.contains(box) else store.UNUSED


def codes(case: Case, recipe: Recipe) -> np.ndarray:
    """uint8 ``(tiles,)``: the part of every tile of a case, from its place alone."""
    grid = grid_of(case.extent, recipe)
    if case.whole or not case.held:
        return np.full(len(grid), store.CODES[case.whole or "training"], np.uint8)
    return np.fromiter((tile_code(case, tile) for tile in grid), np.uint8, len(grid))


def tile_code(case: Case, tile: Tile) -> int:
    """The part of a tile, see ``part_code``."""
    if case.whole:
        return store.CODES[case.whole]
    return part_code(tile.box.intersection(Box.whole(case.extent)), case.held, case.gap)


def cases_of(pairs: list[CheckedPair], recipe: Recipe, split: Split) -> list[Case]:
    """The cases in order, their rows one after another."""
    sizes = [len(grid_of(pair.extent, recipe)) for pair in pairs]
    return [
        Case(
            **vars(pair),
            number=number,
            first_row=sum(sizes[:number]),
            whole=split.whole(pair.pair.case),
            held=split.held(pair.pair.case, pair.extent),
            gap=split.gap,
        )
        for number, pair in enumerate(pairs)
    ]


def tile_tasks(
    case: Case, recipe: Recipe, numbers: Numbers, used: np.ndarray, task_bytes: int
) -> Iterator[TileTask]:
    """The bands of a case; rows without a used tile belong to a band too. ``used``: see ``codes``."""
    grid = grid_of(case.extent, recipe)
    rows, per_row = grid.shape[0], math.prod(grid.shape[1:])
    patch_bytes = math.prod(recipe.cut.patch) * 4 * len(recipe.card.channels)
    sizes = np.add.reduceat((used != store.UNUSED) * patch_bytes, np.arange(0, len(used), per_row))
    first, total = 0, 0
    for row in range(rows):
        if total and total + int(sizes[row]) > task_bytes:
            yield TileTask(case, numbers, first, row)
            first, total = row, 0
        total += int(sizes[row])
    yield TileTask(case, numbers, first, rows)


def regions_of(
    case: Case, recipe: Recipe, numbers: Numbers, survey: Mapping[str, Any]
) -> list[store.RegionSpec]:
    """Each held-out box with a patch more on each side, which its tiles reach into."""
    reach = full_rank(recipe.card.patch, len(case.extent), 1)
    return [
        store.RegionSpec(
            name=f"{case.number}.{k}",
            window=box.grown(reach).intersection(Box.whole(case.extent)),
            dtype=case.dtype,
            facts={
                "case": case.pair.case,
                "part": part,
                "extent": list(case.extent),
                "box": [list(box.start), list(box.stop)],
                "scale": survey["scale"],
                "offset": survey["offset"],
                "normaliser": asdict(numbers.held),
            },
        )
        for k, (part, box) in enumerate(case.held)
    ]


def region_tasks(
    case: Case, region: store.RegionSpec, recipe: Recipe, task_bytes: int
) -> Iterator[RegionTask]:
    """The bands of a held-out region."""
    channels, classes = len(recipe.card.channels), len(recipe.card.classes)
    each = region.bytes(channels, classes) // region.layers
    rows = max(1, task_bytes // max(1, each))
    for first in range(0, region.layers, rows):
        yield RegionTask(case, region, first, min(first + rows, region.layers))


def reads(grid: Grid, row: int, most_voxels: int) -> Iterator[list[tuple[int, ...]]]:
    """The tiles of one row of the grid, each once, in groups whose common box has at most
    ``most_voxels`` (or is one tile). A group is a product of ranges, halved on its longest axis."""
    waiting = [[range(row, row + 1), *map(range, grid.shape[1:])]]
    while waiting:
        ranges = waiting.pop()
        first, last = (grid.tile(tuple(r[k] for r in ranges)).box for k in (0, -1))
        axis = max(range(len(ranges)), key=lambda a: len(ranges[a]))
        if first.union(last).size <= most_voxels or len(ranges[axis]) == 1:
            yield list(product(*ranges))
            continue
        half, which = len(ranges[axis]) // 2, ranges[axis]
        waiting.append([*ranges[:axis], which[half:], *ranges[axis + 1 :]])
        waiting.append([*ranges[:axis], which[:half], *ranges[axis + 1 :]])
