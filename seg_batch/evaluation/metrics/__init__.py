"""Scores: of voxels, of surfaces, of sizes, of probabilities; block by block, any size.

``CaseScorer`` takes one case block by block and gives its ``CaseScores``; ``summarise`` makes of
many cases what a card and a report say, with intervals. Every definition stands where it is
computed: `confusion` (Dice and its family), `surface` (distances, bands), `size` (mL, ha),
`intervals` (the bootstrap), `calibration` (ECE).
"""

from seg_batch.evaluation.metrics.calibration import Calibration
from seg_batch.evaluation.metrics.case import CaseScorer, CaseScores
from seg_batch.evaluation.metrics.confusion import (
    Confusion,
    accuracy,
    commonest,
    dice,
    iou,
    mean_over_classes,
    per_case,
    plain,
)
from seg_batch.evaluation.metrics.size import unit_of
from seg_batch.evaluation.metrics.summary import summarise

__all__ = [
    "Calibration",
    "CaseScorer",
    "CaseScores",
    "Confusion",
    "accuracy",
    "commonest",
    "dice",
    "iou",
    "mean_over_classes",
    "per_case",
    "plain",
    "summarise",
    "unit_of",
]
