"""Scores of a model on held-out regions, predicted by the production stitcher, never on patches."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.config.card import ModelCard
from seg_batch.config.postprocess import needs_probabilities
from seg_batch.config.predict_options import PredictOptions
from seg_batch.core.geometry import Box, Shape
from seg_batch.datasets.label_classes import of_card
from seg_batch.datasets.patch_set import HeldRegion
from seg_batch.evaluation.dataset_card import spacing_of_card
from seg_batch.evaluation.held_out_cases import uniquely_named
from seg_batch.evaluation.metrics import confusion
from seg_batch.evaluation.metrics.case import CaseScores
from seg_batch.evaluation.metrics.confusion import Confusion
from seg_batch.evaluation.metrics.size import unit_of
from seg_batch.evaluation.metrics.summary import summarise
from seg_batch.evaluation.postprocess_region import RegionPostprocess
from seg_batch.evaluation.predict_region import BlockStats, Region, predict_blocks
from seg_batch.evaluation.score_case import CaseCounts, LabelledCase, count_case
from seg_batch.evaluation.view_region import ViewRegion
from seg_batch.inference.sliding_window.grid import AS_TRAINED
from seg_batch.inference.sliding_window.stitch import Predictor
from seg_batch.io.sources.areas.pixel_areas import PixelAreas

PREDICTING = 0.9  # of the time that a region takes; the rest is counting


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
        return confusion.per_case(list(self.cases.values()))

    @property
    def mean_dice_of_true(self) -> float:
        """The mean over the classes that the truth has, without the background: the score that a
        checkpoint is chosen by. Else one voxel of an absent class would weigh as a whole class."""
        present = self.total.sum(1) > 0
        if self.background is not None:
            present[self.background] = False
        return confusion.mean_over_classes(self.dice[present])

    @property
    def accuracy(self) -> float:
        return confusion.accuracy(self.total)


def score(regions: Sequence[Region], card: ModelCard, predictor: Predictor) -> Scored:
    """Predict every region as ``predict`` would and count confusion matrices only, which is quick
    enough for choosing a checkpoint. See ``scores_of``."""
    cases: dict[str, Confusion] = {}
    for region in regions:
        matrix = cases.setdefault(region.case, Confusion(len(card.classes)))
        for box, classes in predict_blocks(region, card, predictor):
            truth, valid = region.truth(box)
            matrix.add(truth, classes, valid)
    return Scored({case: c.matrix for case, c in cases.items()}, of_card(card).background)


def scores_of(
    regions: Sequence[HeldRegion], card: ModelCard, predictor: Predictor
) -> dict[str, Any]:
    """The scores of a card on held-out regions, as JSON-ready values.

    What ``summarise`` gives (overall and per class with 95 % intervals, confusion, a row
    per case), less its rows of classes and cases, and ``calibration`` (``error``, ``bins``) and
    ``seams`` (see ``sliding_window.seams``). Predicted labels lie in a temporary folder, one region
    at a time.
    """
    stats, cases = BlockStats(), {}
    with tempfile.TemporaryDirectory(prefix="scoring-") as folder:
        scorer = RegionScorer(card, predictor, AS_TRAINED, Path(folder), stats)
        for name, region in uniquely_named(list(regions)):
            spacing = spacing_of_card(card, len(region.extent))
            _, counted = scorer.score(name, region, spacing, {}, lambda share: None)
            cases[name] = counted.scores
    classes = of_card(card)
    table = score_summary(cases, classes.names, classes.background)
    del table["per_class_and_case"]
    return {**table, **stats.summary(classes.names)}


@dataclass(frozen=True)
class RegionScorer:
    """Predicts regions one after the other, each to a file in ``folder``, and counts them."""

    card: ModelCard
    predictor: Predictor
    options: PredictOptions
    folder: Path
    stats: BlockStats

    def score(
        self,
        name: str,
        region: Region,
        spacing: tuple[float, ...] | None,
        facts: Mapping[str, Any],
        on_share: Callable[[float], None],
    ) -> tuple[LabelledCase, CaseCounts]:
        """The region with its predicted labels, which the next call overwrites, and its counts.

        ``spacing``: of its voxels, in metres or mm. ``on_share`` is called with each further share of
        the region that is done.
        """
        labels = self._predict(region, spacing, lambda share: on_share(PREDICTING * share))

        def prediction(box: Box) -> tuple[np.ndarray, np.ndarray]:
            part = np.asarray(labels[box.slices(region.box.start)])
            return part, np.ones(part.shape, bool)

        case = LabelledCase(
            *(name, region.box, region.truth, prediction, region.read, facts, spacing),
            areas=_areas_of(region),
            channels=self.card.channel_names or (),
        )
        rest = 1 - PREDICTING
        classes = len(self.card.classes)
        return case, count_case(case, classes, on_block=lambda share: on_share(rest * share))

    def _predict(
        self, region: Region, spacing: tuple[float, ...] | None, on_share: Callable[[float], None]
    ) -> np.ndarray:
        """The region's class indices after the postprocess chain, ``region.box.shape``, on disk."""
        areas = _areas_of(region)
        if areas is not None:
            areas = replace(areas, origin=region.box.start)
        after = RegionPostprocess.of(self.card, self.options, spacing, areas)
        classes, shape = len(self.card.classes), region.box.shape
        dtype = np.min_scalar_type(classes + 1)  # one more for voxels without data
        out = self._mapped("predicted.npy", dtype, shape)
        kept = None
        if needs_probabilities(after.chain):
            kept = self._mapped("kept.npy", np.dtype("uint8"), (classes, *shape))
        blocks = predict_blocks(
            region,
            self.card,
            self.predictor,
            options=self.options,
            stats=self.stats,
            on_share=on_share,
            keep=kept,
        )
        for box, labels in blocks:
            out[box.slices(region.box.start)] = labels
        after.apply(region, out, kept)
        return out

    def _mapped(self, name: str, dtype: np.dtype, shape: Shape) -> np.ndarray:
        path = self.folder / name
        path.unlink(missing_ok=True)  # that of an earlier region may still be mapped
        return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)


def _areas_of(region: Region) -> PixelAreas | None:
    """None of a region of a patch dataset, which keeps no place."""
    return region.areas if isinstance(region, ViewRegion) else None


def score_summary(
    cases: dict[str, CaseScores], names: list[str], background: int | None
) -> dict[str, Any]:
    """``summarise``, with sizes in mL or ha where all cases have voxels that measure so."""
    units = [unit_of(scores.spacing, scores.hectares) for scores in cases.values()]
    alike = len({unit.name for unit in units}) == 1
    return summarise(cases, names, background, units if alike else None)
