"""Scores of a model on held-out regions, stitched by the production stitcher, never on patches."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.config.card import ModelCard
from seg_batch.config.predict_options import PredictOptions
from seg_batch.core.geometry import Box
from seg_batch.datasets.label_classes import of_card
from seg_batch.datasets.patch_set import HeldRegion
from seg_batch.evaluation import metrics
from seg_batch.evaluation.held_out_cases import spacing_of_card, uniquely_named
from seg_batch.evaluation.predict_region import BlockStats, Region, predicted, to_disk
from seg_batch.evaluation.score_case import CaseCounts, LabelledCase, count
from seg_batch.inference.sliding_window.stitch import Predictor

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
        return metrics.per_case(list(self.cases.values()))

    @property
    def mean_dice_of_true(self) -> float:
        """The mean over the classes that the truth has, without the background: what a checkpoint is
        chosen by. One voxel of a class that is not there would else weigh as much as a class."""
        there = self.total.sum(1) > 0
        if self.background is not None:
            there[self.background] = False
        return metrics.mean_over_classes(self.dice[there])

    @property
    def accuracy(self) -> float:
        return metrics.accuracy(self.total)


def score(
    regions: Sequence[Region], card: ModelCard, predictor: Predictor, taper: str = "hann"
) -> Scored:
    """Predict every region as ``predict`` would and count what came out right.

    The quick one, for choosing a checkpoint: confusion matrices only. See ``scores_of``.
    """
    found: dict[str, metrics.Confusion] = {}
    for region in regions:
        confusion = found.setdefault(region.case, metrics.Confusion(len(card.classes)))
        for box, classes in predicted(region, card, predictor, taper):
            truth, valid = region.truth(box)
            confusion.add(truth, classes, valid)
    return Scored({case: c.matrix for case, c in found.items()}, of_card(card).background)


def scores_of(
    regions: Sequence[HeldRegion],
    card: ModelCard,
    predictor: Predictor,
    *,
    options: PredictOptions | None = None,
    work: Path | None = None,
    on_share: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """All that the card says of held-out regions, as JSON-ready values.

    What ``metrics.summarise`` gives (overall and per class with 95 % intervals, confusion, a row
    per case), less its rows of classes and cases, and ``calibration`` (``error``, ``bins``) and
    ``seams`` (see ``sliding_window.seams``). Predicted labels lie in ``work`` (default: a temporary folder) one
    region at a time. ``on_share`` is told which share of all regions was done.
    """
    watch, cases = BlockStats(len(card.classes)), {}
    each = 1 / max(1, len(regions))
    with tempfile.TemporaryDirectory(dir=work, prefix="scoring-") as folder:
        scorer = RegionScorer(card, predictor, options or PredictOptions(), Path(folder), watch)
        for name, region in uniquely_named(list(regions)):
            spacing = spacing_of_card(card, len(region.extent))
            _, counted = scorer.score(
                name, region, spacing, {}, lambda share: on_share(share * each)
            )
            cases[name] = counted.scores
    classes = of_card(card)
    table = score_summary(cases, classes.names, classes.background)
    del table["per_class_and_case"]
    return {**table, **watched(watch, classes.names)}


@dataclass(frozen=True)
class RegionScorer:
    """Predicts regions one after the other, each to a file in ``folder``, and counts them."""

    card: ModelCard
    predictor: Predictor
    options: PredictOptions
    folder: Path
    watch: BlockStats

    def score(
        self,
        name: str,
        region: Region,
        spacing: tuple[float, ...] | None,
        facts: Mapping[str, Any],
        on_share: Callable[[float], None],
    ) -> tuple[LabelledCase, CaseCounts]:
        """The region with its labels, which the next one replaces, and what it gave."""
        labels = to_disk(
            region,
            self.card,
            self.predictor,
            self.folder,
            self.options,
            self.watch,
            lambda share: on_share(PREDICTING * share),
            spacing,
        )

        def found(box: Box) -> tuple[np.ndarray, np.ndarray]:
            part = np.asarray(labels[box.slices(region.box.start)])
            return part, np.ones(part.shape, bool)

        case = LabelledCase(name, region.box, region.truth, found, region.read, facts, spacing)
        rest = 1 - PREDICTING
        classes = len(self.card.classes)
        return case, count(case, classes, on_block=lambda share: on_share(rest * share))


def score_summary(
    cases: dict[str, metrics.CaseScores], names: list[str], background: int | None
) -> dict[str, Any]:
    """``metrics.summarise``, with sizes in mL or ha where all cases have voxels that measure so."""
    units = [metrics.unit_of(scores.spacing) for scores in cases.values()]
    alike = len({unit.name for unit in units}) == 1
    return metrics.summarise(cases, names, background, units if alike else None)


def watched(watch: BlockStats, names: list[str]) -> dict[str, Any]:
    """Calibration and seams, as the card and the evaluation have them."""
    calibration, seams = watch.calibration, watch.seams
    return {
        "calibration": {
            "error": metrics.plain(calibration.error),
            "bins": calibration.table,
            "of": "the probability of the winning class",
        },
        "seams": None if seams is None else seams.summary(names, watch.blocks),
    }
