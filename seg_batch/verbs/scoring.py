"""Scores of a model on held-out regions, stitched by the production stitcher, never on patches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from seg_batch import metrics
from seg_batch.card import ModelCard
from seg_batch.dataset import Held
from seg_batch.geometry import Blocks, Box
from seg_batch.plan import Options, make_grid
from seg_batch.stitch import Counts, Empty, Predictor, Stitcher, below, winners
from seg_batch.taper import Taper

BLOCK = {2: 2048, 3: 192}


@dataclass(frozen=True)
class Scored:
    """The confusion matrices of the cases, int64 ``(classes, classes)`` each, in their order."""

    cases: dict[str, np.ndarray]
    background: int | None

    @property
    def total(self) -> np.ndarray:
        return np.sum(list(self.cases.values()), axis=0)

    @property
    def dice(self) -> np.ndarray:
        """Per class: the mean over cases, or of all voxels together where there is one case."""
        return metrics.per_case(list(self.cases.values()))

    @property
    def mean_dice(self) -> float:
        """Over the classes that occur, without the background (the class with id 0)."""
        dice = self.dice
        if self.background is not None:
            dice = np.delete(dice, self.background)
        return metrics.mean(dice)

    @property
    def accuracy(self) -> float:
        return metrics.accuracy(self.total)

    def table(self, names: list[str]) -> dict[str, Any]:
        """For the card. A class that neither truth nor map has is None."""
        total = self.total
        iou = dict(zip(names, metrics.plain(metrics.iou(total)), strict=True))
        dice = dict(zip(names, metrics.plain(self.dice), strict=True))
        return {
            "cases": list(self.cases),
            "voxels": int(total.sum()),
            "accuracy": metrics.plain(self.accuracy),
            "accuracy_of_commonest_class": metrics.plain(metrics.commonest(total)),
            "mean_dice": metrics.plain(self.mean_dice),
            "dice": dice,
            "iou": iou,
            "true_voxels": dict(zip(names, map(int, total.sum(1)), strict=True)),
        }


def score(
    regions: list[Held], card: ModelCard, predictor: Predictor, taper: str = "hann"
) -> Scored:
    """Predict every region as ``predict`` would and count what came out right."""
    found: dict[str, metrics.Confusion] = {}
    for region in regions:
        confusion = found.setdefault(region.case, metrics.Confusion(len(card.classes)))
        for box, classes in predicted(region, card, predictor, taper):
            confusion.add(region.truth(box)[0], classes, region.truth(box)[1])
    background = next((k for k, c in enumerate(card.classes) if c.id == 0), None)
    return Scored({case: c.matrix for case, c in found.items()}, background)


def predicted(
    region: Held, card: ModelCard, predictor: Predictor, taper: str = "hann"
) -> Iterator[tuple[Box, np.ndarray]]:
    """The region block by block: boxes of its case, and the class index of each voxel."""
    grid, rank = make_grid(region.extent, card, Options(taper=taper))
    skip = card.skip
    ids = np.arange(len(card.classes))
    skipped = int(np.flatnonzero([c.id == skip.label for c in card.classes])[0]) if skip else 0
    empty = Empty(card.nodata, skip.below if skip else None, skipped)
    stitcher = Stitcher(
        grid=grid,
        taper=Taper(grid, taper),
        normaliser=region.normaliser,
        predictor=predictor,
        classes=len(ids),
        rank=rank,
        batch=1,
        empty=empty,
    )
    for block in Blocks(region.box.shape, (BLOCK[len(region.extent)],) * len(region.extent)):
        box = block.box.shift(region.box.start)
        window = grid.window(box)
        held = region.read(window)
        rows = [winners(sums, ids) for _, sums in stitcher.sums(held, window, box, Counts())]
        classes = np.concatenate(rows)
        classes[below(held[box.slices(window.start)], empty)] = skipped
        yield box, classes
