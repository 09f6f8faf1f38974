"""One task of ``patches``: a band of tiles or of a held-out region, written to the dataset.

Tiles are cut and normalised by the very functions of ``predict``, from reads of bounded size.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.config.recipe import Recipe
from seg_batch.core.geometry import Box, Grid, Shape, Tile
from seg_batch.core.normalise import Pixels
from seg_batch.datasets import store
from seg_batch.datasets.label_classes import class_indices, ignored
from seg_batch.datasets.layout import Case, RegionTask, Task, TileTask, grid_of, reads, tile_code
from seg_batch.datasets.pairs import axes_of, open_pair
from seg_batch.datasets.survey import readable
from seg_batch.datasets.work_folder import DONE, STAGED, DatasetJob
from seg_batch.inference.sliding_window.stitch import cut
from seg_batch.io.sources.views.open_view import View

READ_BYTES = 64 << 20
_LABEL_BYTES = 32  # a label as stored, as float64, as a class index, and what sorting them takes


def staged_folder(work: Path, case: Case) -> Path:
    """Where tasks share the uncompressed copies of one case."""
    return work / STAGED / str(case.number)


def run_task(job: DatasetJob, task: Task) -> dict[str, Any]:
    """Write and flush the band, then its receipt: what the index has to say of its rows."""
    writer, case = store.Writer(job.work.dataset), task.case
    staged = staged_folder(job.work.path, case) if task.shared else None
    with (
        readable(case.pair),
        open_pair(case.pair, axes_of(job.recipe), job.align, staged) as (image, label),
    ):
        if isinstance(task, TileTask):
            receipt = _cut_band(writer, image, label, task, job.recipe)
        else:
            receipt = _copy_band(writer, image, label, task, job.recipe)
    writer.flush()
    job.work.note(DONE, task.name, receipt)
    return receipt


def _cut_band(
    writer: store.Writer, image: View, label: View, task: TileTask, recipe: Recipe
) -> dict[str, Any]:
    """All tiles of a band; ``split`` and ``histogram`` of its rows, in order."""
    grid, classes = grid_of(task.case.extent, recipe), len(recipe.card.classes)
    first = _row(grid, (task.first, *(0 for _ in grid.shape[1:])))
    n = (task.last - task.first) * (len(grid) // grid.shape[0])
    split = np.full(n, store.UNUSED, np.uint8)
    histogram = np.zeros((n, classes), np.int64)
    for tile, pixels, target in _tiles(image, label, task, grid, recipe):
        code = tile_code(task.case, tile)
        counts = np.bincount(target[target < classes], minlength=classes)
        if not counts.any():
            continue
        row = _row(grid, tile.index)
        split[row - first], histogram[row - first] = code, counts
        training = code == store.CODES["training"]
        normaliser = task.numbers.training if training else task.numbers.held
        shape = recipe.cut.patch
        patch = normaliser(pixels).reshape(*shape, -1)
        writer.patch(task.case.first_row + row, patch, target.reshape(shape))
    return {"split": split.tolist(), "histogram": histogram.tolist()}


def _row(grid: Grid, index: Shape) -> int:
    return int(np.ravel_multi_index(index, grid.shape))


def _tiles(
    image: View, label: View, task: TileTask, grid: Grid, recipe: Recipe
) -> Iterator[tuple[Tile, Pixels, np.ndarray]]:
    """Every tile of the band that is used: its image pixels and class indices. Tiles that are near
    each other come from one read."""
    extent, voxel = task.case.extent, image.info.voxel_bytes + _LABEL_BYTES
    for row in range(task.first, task.last):
        for group in reads(grid, row, max(1, READ_BYTES // voxel)):
            tiles = [grid.tile(index) for index in group]
            tiles = [tile for tile in tiles if tile_code(task.case, tile) != store.UNUSED]
            if not tiles:
                continue
            box = reduce(Box.union, (tile.box for tile in tiles)).intersection(Box.whole(extent))
            around = image.read(box)
            truth = Pixels(_targets(label.read(box), around, recipe)[..., None])
            for tile in tiles:
                target = cut(truth, box, tile.box, extent).values[..., 0]
                yield tile, cut(around, box, tile.box, extent), target


def _targets(labels: Pixels, image: Pixels, recipe: Recipe) -> np.ndarray:
    """Label values as class indices; ignored where the label has no class or the image no data."""
    ids = np.array([c.id for c in recipe.card.classes])
    indices, _ = class_indices(labels.physical(np.float64)[..., 0], ids)
    out = indices.astype(store.label_dtype(len(ids)))
    out[ignored(labels, recipe.cut.ignore) | ~image.with_data(recipe.card.missing)] = (
        store.ignore_label(len(ids))
    )
    return out


def _copy_band(
    writer: store.Writer, image: View, label: View, task: RegionTask, recipe: Recipe
) -> dict[str, Any]:
    """A held-out region, chunk by chunk, in the source's own values."""
    for box in task.region.boxes(task.first, task.last):
        pixels = image.read(box)
        writer.piece(task.region, box, pixels, _targets(label.read(box), pixels, recipe))
    return {}
