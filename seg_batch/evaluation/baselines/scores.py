"""The scores of plain rules on the voxels that a model is scored on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from seg_batch.core.geometry import Blocks
from seg_batch.datasets.label_classes import Classes
from seg_batch.evaluation.baselines.rules import Commonest, Discriminant, Rule, Threshold
from seg_batch.evaluation.baselines.sample import Sample
from seg_batch.evaluation.metrics import confusion
from seg_batch.evaluation.metrics.confusion import Confusion, plain
from seg_batch.evaluation.predict_region import Region

_SIDE = {2: 512, 3: 64}
_CUT_VOXELS = 30_000  # of the sample, that a threshold is searched in


@dataclass(eq=False)
class Baselines:
    """``rules``: fitted to what was learnt from; empty where there is nothing. ``truth``: voxels of each class, by case."""

    classes: Classes
    rules: list[Rule]
    truth: list[np.ndarray] = field(default_factory=list)
    matrices: list[list[Confusion]] = field(default_factory=list)

    @classmethod
    def of(cls, classes: Classes, sample: Sample | None, channels: tuple[str, ...]) -> Baselines:
        """``channels``: their names, if they have some."""
        if sample is None:
            return cls(classes, [])
        values, labels = sample
        counts = np.bincount(labels, minlength=len(classes))
        rules: list[Rule] = [Commonest(int(counts.argmax()), "of the training part")]
        present = np.count_nonzero(counts)
        if present > 1:
            rules.append(Discriminant.fitted(values, labels))
        if present == 2:
            some = np.random.default_rng(0).permutation(len(values))[:_CUT_VOXELS]
            if len(np.unique(labels[some])) == 2:
                rules.append(Threshold.fitted(values[some], labels[some], channels))
        return cls(classes, rules)

    def add(self, region: Region) -> None:
        """Score a region, block by block."""
        n = len(self.classes)
        of_rules, truth = [Confusion(n) for _ in self.rules], np.zeros(n, np.int64)
        box = region.box
        for block in Blocks(box.shape, (_SIDE[len(box.shape)],) * len(box.shape)):
            place = block.box.shift(box.start)
            labels, valid = region.truth(place)
            labels = labels[valid].astype(np.int64)
            truth += np.bincount(labels, minlength=n)
            if not len(labels) or not self.rules:
                continue
            values = np.nan_to_num(region.read(place).physical(np.float64)[valid])
            for rule, matrix in zip(self.rules, of_rules, strict=True):
                matrix.add(labels, rule(values))
        self.truth.append(truth)
        self.matrices.append(of_rules)

    def result(self) -> list[dict[str, Any]]:
        """A row for each rule, JSON-ready: ``rule``, ``words``, ``mean_dice``, ``accuracy``, ``dice`` by class. Means as in those of a
        model."""
        if self.rules:
            return [
                self._row(rule.name, rule.words, [of_rules[k].matrix for of_rules in self.matrices])
                for k, rule in enumerate(self.rules)
            ]
        best = Commonest(int(np.sum(self.truth, axis=0).argmax()), "of what is scored")
        matrices = [np.zeros((len(self.classes),) * 2, np.int64) for _ in self.truth]
        for matrix, counts in zip(matrices, self.truth, strict=True):
            matrix[:, best.index] = counts
        return [self._row(best.name, best.words, matrices)]

    def _row(self, name: str, words: str, matrices: list[np.ndarray]) -> dict[str, Any]:
        dice = confusion.per_case(matrices)
        kept = [k for k in range(len(dice)) if k != self.classes.background]
        return {
            "rule": name,
            "words": words,
            "mean_dice": plain(confusion.mean_over_classes(dice[kept])),
            "accuracy": plain(confusion.accuracy(np.sum(matrices, axis=0))),
            "dice": dict(zip(self.classes.names, plain(dice), strict=True)),
        }


def not_beaten(name: str, overall: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    """A line for each rule that a model is no better than, by the mean Dice, or where there is none by the accuracy."""
    lines = []
    for row in rows:
        key = "accuracy" if row["mean_dice"] is None else "mean_dice"
        mine, plainly = overall[key]["mean"], row[key]
        if mine is not None and plainly is not None and mine <= plainly:
            what = "accuracy" if key == "accuracy" else "mean Dice"
            lines.append(
                f"{name} does not beat the {row['rule']} ({row['words']}): {what} {mine:.3f} against {plainly:.3f}"
            )
    return lines
