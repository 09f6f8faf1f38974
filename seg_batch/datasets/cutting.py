"""One task of ``patches``: a band of tiles or of a held-out region, written to the dataset.

Tiles are cut and normalised by the very functions of ``predict``, from reads of bounded size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.config.recipe import Recipe
from seg_batch.core.geometry import Box, Grid, Shape, Tile
from seg_batch.core.normalise import Pixels
from seg_batch.datasets import store
from seg_batch.datasets.layout import Case, RegionTask, Task, TileTask, grid_of, part_code, reads
from seg_batch.datasets.pairs import open_pair
from seg_batch.datasets.survey import ignored, readable
from seg_batch.datasets.work_folder import DONE, STAGED, note
from seg_batch.inference.sliding_window.stitch import cut
from seg_batch.io.sources.views.open_view import View

READ_BYTES = 64 << 20
_LABEL_BYTES = 32  # a label as stored, as float64, as a class index, and what sorting them takes


@dataclass(frozen=True)
class CutJob:
    """What all tasks share: the dataset, the work folder and the digest of its plan."""

    store: str
    work: str
    digest: str
    recipe: Recipe
    align: str | None = None
    read_bytes: int = READ_BYTES


def staged_folder(work: Path, case: Case) -> Path:
    """Where tasks share the uncompressed copies of one case."""
    return work / STAGED / str(case.number)


def run_task(job: CutJob, task: Task) -> dict[str, Any]:
    """Do it, flush it, then leave its receipt: what the index has to say of its rows."""
    writer, case = store.Writer(Path(job.store)), task.case
    staged = staged_folder(Path(job.work), case) if task.shared else None
    orientation = job.recipe.card.orientation
    with (
        readable(case.pair),
        open_pair(case.pair, orientation, job.align, staged) as (image, label),
    ):
        if isinstance(task, TileTask):
            found = _cut_band(writer, image, label, task, job)
        else:
            found = _copy_band(writer, image, label, task, job.recipe)
    writer.flush()
    note(Path(job.work), job.digest, DONE, task.name, found)
    return found


def _cut_band(
    writer: store.Writer, image: View, label: View, task: TileTask, job: CutJob
) -> dict[str, Any]:
    """All tiles of a band; ``split``, ``histogram`` and ``valid`` voxels of its rows, in order."""
    recipe, case = job.recipe, task.case
    grid, classes = grid_of(case.extent, recipe), len(recipe.card.classes)
    first = _row(grid, (task.first, *(0 for _ in grid.shape[1:])))
    n = (task.last - task.first) * (len(grid) // grid.shape[0])
    split = np.full(n, store.UNUSED, np.uint8)
    histogram = np.zeros((n, classes), np.int64)
    for tile, pixels, target in _tiles(image, label, task, grid, job):
        code = _code(case, tile)
        counts = np.bincount(target[target < classes], minlength=classes)
        if not counts.any():
            continue
        row = _row(grid, tile.index)
        split[row - first], histogram[row - first] = code, counts
        training = code == store.CODES["training"]
        numbers = task.numbers.training if training else task.numbers.held
        shape = recipe.cut.patch
        patch = numbers(pixels).reshape(*shape, -1)
        writer.patch(case.first_row + row, patch, target.reshape(shape))
    return {"split": split.tolist(), "histogram": histogram.tolist()}


def _row(grid: Grid, index: Shape) -> int:
    return int(np.ravel_multi_index(index, grid.shape))


def _code(case: Case, tile: Tile) -> int:
    if case.whole:
        return store.CODES[case.whole]
    return part_code(tile.box.intersection(Box.whole(case.extent)), case.held, case.gap)


def _tiles(
    image: View, label: View, task: TileTask, grid: Grid, job: CutJob
) -> Iterator[tuple[Tile, Pixels, np.ndarray]]:
    """Every tile of use in the band: image pixels and class indices of each."""
    extent, voxel = task.case.extent, image.info.voxel_bytes + _LABEL_BYTES
    for row in range(task.first, task.last):
        for group in reads(grid, row, max(1, job.read_bytes // voxel)):
            tiles = [grid.tile(index) for index in group]
            tiles = [tile for tile in tiles if _code(task.case, tile) != store.UNUSED]
            if tiles:
                yield from _cut_group(image, label, tiles, extent, job.recipe)


def _cut_group(
    image: View, label: View, tiles: list[Tile], extent: Shape, recipe: Recipe
) -> Iterator[tuple[Tile, Pixels, np.ndarray]]:
    """Tiles that are near each other, from one read."""
    box = tiles[0].box
    for tile in tiles[1:]:
        box = box.union(tile.box)
    box = box.intersection(Box.whole(extent))
    held = image.read(box)
    truth = Pixels(targets(label.read(box), held, recipe)[..., None])
    for tile in tiles:
        pixels = cut(held, box, tile.box, extent)
        yield tile, pixels, cut(truth, box, tile.box, extent).values[..., 0]


def targets(labels: Pixels, image: Pixels, recipe: Recipe) -> np.ndarray:
    """Label values as class indices; ignored where the label has no class or the image no data."""
    ids = np.array([c.id for c in recipe.card.classes])
    order = np.argsort(ids)
    values = labels.physical(np.float64)[..., 0]
    place = np.clip(np.searchsorted(ids[order], values), 0, len(ids) - 1)
    out = order[place].astype(store.label_dtype(len(ids)))
    out[ignored(labels, recipe) | ~image.any_valid()] = store.ignore_label(len(ids))
    return out


def _copy_band(
    writer: store.Writer, image: View, label: View, task: RegionTask, recipe: Recipe
) -> dict[str, Any]:
    """A held-out region, chunk by chunk, as the source has it."""
    for box in task.region.boxes(task.first, task.last):
        pixels = image.read(box)
        writer.piece(task.region, box, pixels, targets(label.read(box), pixels, recipe))
    return {}
