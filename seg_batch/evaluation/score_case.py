"""Counting one case block by block, from label files or from a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from seg_batch.core.geometry import Blocks, Box, Shape
from seg_batch.core.normalise import Pixels
from seg_batch.core.resample.pasted import WayBack
from seg_batch.core.taper import Taper
from seg_batch.evaluation.metrics.case import CaseScorer, CaseScores
from seg_batch.inference.sliding_window.seams import SeamCounter, SeamCounts
from seg_batch.io.sources.areas.pixel_areas import PixelAreas

SIDE = {2: 1024, 3: 128}


Labels = Callable[[Box], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, eq=False)
class LabelledCase:
    """A case with truth and prediction on one grid: ``box`` of it is scored.

    ``truth(box)`` and ``prediction(box)``: class indices and where they count, ``box.shape`` each.
    ``image(box)``: the pixels there, None where no image is known; ``channels``: their names. ``facts``: its source, as JSON.
    ``spacing``: length of a voxel per axis (mm, m), None where unknown. ``taper``: how tiles were
    blended, ``way_back``: from their grid to this one, where it is another, and ``areas``: of its pixels, if these are known.
    """

    name: str
    box: Box
    truth: Labels
    prediction: Labels
    image: Callable[[Box], Pixels] | None
    facts: Mapping[str, Any]
    spacing: tuple[float, ...] | None = None
    taper: Taper | None = None
    way_back: WayBack | None = None
    areas: PixelAreas | None = None
    channels: tuple[str, ...] = ()


@dataclass(frozen=True)
class CaseCounts:
    """The counts of one case. ``not_scored``: voxels without a true class. ``not_predicted``: voxels
    with a true class and no prediction; they count in no score."""

    scores: CaseScores
    seams: SeamCounts | None
    not_scored: int
    not_predicted: int


def count_case(
    case: LabelledCase,
    classes: int,
    side: Shape | None = None,
    on_block: Callable[[float], None] = lambda share: None,
) -> CaseCounts:
    """Score a case in blocks of ``side`` voxels; any ``side`` gives the same numbers.

    Memory follows the block with its halo and the length of the surfaces, not the extent.
    ``on_block`` is called with the share of the case that a block is.
    """
    region = case.box
    scorer = CaseScorer(classes, region, case.spacing, areas=case.areas)
    taper, seams, unknown, unpredicted = case.taper, None, 0, 0
    blocks = Blocks(region.shape, side or (SIDE[len(region.shape)],) * len(region.shape))
    for block in blocks:
        box = block.box.shift(region.start)
        window = scorer.window(box)
        (truth, valid), (labels, predicted) = case.truth(window), case.prediction(window)
        scorer.add(box, window, truth, labels, valid & predicted)
        inside = box.slices(window.start)
        unknown += int((~valid[inside]).sum())
        unpredicted += int((valid & ~predicted)[inside].sum())
        if taper is not None:
            block_seams = _seams(taper, case.way_back, box, window, (labels, predicted), classes)
            seams = block_seams if seams is None else seams + block_seams
        on_block(1 / len(blocks))
    return CaseCounts(scorer.finish(), seams, unknown, unpredicted)


def _seams(
    taper: Taper,
    way_back: WayBack | None,
    box: Box,
    window: Box,
    found: tuple[np.ndarray, np.ndarray],
    classes: int,
) -> SeamCounts:
    """Flips of labels across tile borders; there are no probabilities to jump.

    Axis by axis in the box grown by the voxel before it, so that pairs across the faces of blocks
    are counted, once.
    """
    labels, predicted = found
    total = SeamCounts.zero(len(box.shape), classes)
    for axis in range(len(box.shape)):
        before = list(box.start)
        before[axis] = max(window.start[axis], before[axis] - 1)
        grown = Box(tuple(before), box.stop)
        where = grown.slices(window.start)
        seen = predicted[where]
        counter = SeamCounter(taper, np.arange(classes), grown, way_back)
        nothing = np.empty((*grown.shape, 0), np.float32)
        counter.add(grown.start[0], nothing, np.where(seen, labels[where], 0), seen)
        for field in fields(SeamCounts):
            getattr(total, field.name)[axis] = getattr(counter.counts, field.name)[axis]
    return total
