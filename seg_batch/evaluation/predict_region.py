"""A held-out region predicted by the production stitcher, with calibration and seams counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np

from seg_batch.config.card import ModelCard
from seg_batch.config.predict_options import PredictOptions
from seg_batch.core.geometry import Blocks, Box, Shape
from seg_batch.core.normalise import Normaliser
from seg_batch.core.resample.pasted import WayBack
from seg_batch.core.taper import Taper
from seg_batch.evaluation.metrics.calibration import Calibration
from seg_batch.evaluation.metrics.confusion import plain
from seg_batch.evaluation.postprocess_region import SeenRegion
from seg_batch.inference.sliding_window.block import Rows, predict_block
from seg_batch.inference.sliding_window.empty import EmptyRule
from seg_batch.inference.sliding_window.grid import AS_TRAINED, as_card_says, make_grid
from seg_batch.inference.sliding_window.scores import Scores, scores_of
from seg_batch.inference.sliding_window.seams import SeamCounts
from seg_batch.inference.sliding_window.stitch import Predictor, Stitcher
from seg_batch.io.sources.views.open_view import Seen

BLOCK = {2: 2048, 3: 192}
NOWHERE = 0  # the class of voxels without data, of which none is scored


class Region(SeenRegion, Protocol):
    """A region of a case, with its truth; ``box`` is scored.

    ``truth(box)``: class indices and where they count, ``box.shape`` each. ``way_back``: from the grid of the model
    to that of the case, where it is another. ``read_with``: see ``View.read_with``; ``rest``: what is left to do to its
    windows. ``decided``: see ``View.decided``.
    """

    @property
    def way_back(self) -> WayBack | None: ...

    @property
    def decided(self) -> Box | None: ...

    @property
    def rest(self) -> Normaliser: ...

    def read_with(self, window: Box, box: Box) -> Seen: ...

    @property
    def case(self) -> str: ...

    def truth(self, box: Box) -> tuple[np.ndarray, np.ndarray]: ...


@dataclass
class BlockStats:
    """Calibration and seams, summed over regions while they are predicted."""

    calibration: Calibration = field(default_factory=Calibration)
    seams: SeamCounts | None = None
    blocks: int = 0

    def add_seams(self, counts: SeamCounts) -> None:
        """All counts have the same axes: a dataset holds rasters or volumes only."""
        self.seams = counts if self.seams is None else self.seams + counts
        self.blocks += 1

    def summary(self, names: list[str]) -> dict[str, Any]:
        """Calibration and seams as JSON, as the card and the evaluation have them."""
        return {
            "calibration": {
                "error": plain(self.calibration.error),
                "bins": self.calibration.table,
                "of": "the probability of the winning class",
            },
            "seams": None if self.seams is None else self.seams.summary(names, self.blocks),
        }


def predict_blocks(
    region: Region,
    card: ModelCard,
    predictor: Predictor,
    *,
    options: PredictOptions | None = None,
    stats: BlockStats | None = None,
    on_share: Callable[[float], None] = lambda share: None,
    keep: np.ndarray | None = None,
) -> Iterator[tuple[Box, np.ndarray]]:
    """The region block by block: boxes of its case, and the class index of each voxel.

    ``options``: patch, overlap, taper, batch; None: as the model was trained. ``stats`` counts calibration against the region's truth, and
    seams. ``on_share`` is called with each further share of the region that is predicted. ``keep``:
    an array ``(classes, *region.box.shape)`` of uint8 that gets the probabilities, 0 without data.
    """
    stitcher = _stitcher(region, card, predictor, options or AS_TRAINED)
    ids = np.arange(stitcher.classes, dtype=np.min_scalar_type(stitcher.classes))
    side = (BLOCK[len(region.extent)],) * len(region.extent)
    for block in Blocks(region.box.shape, side):
        box = block.box.shift(region.box.start)
        tiles = stitcher.grid.count(_in_model(region, box))
        tile_share = box.size / region.box.size / max(1, tiles)
        result = predict_block(
            stitcher,
            region.read_with,
            box,
            ids,
            way_back=region.way_back,
            probabilities=None if keep is None else keep[:, *block.box.slices()],
            on_tiles=partial(_advance, on_share, tile_share),
            on_rows=_calibrated(region, stats, stitcher.scores),
        )
        if stats is not None:
            stats.add_seams(result.seams)
        yield box, result.labels


def patches_of(region: Region, card: ModelCard) -> int:
    """How many patches ``predict_blocks`` predicts of a region, empty ones included."""
    grid, _ = make_grid(_model_extent(region), card, AS_TRAINED)
    side = (BLOCK[len(region.extent)],) * len(region.extent)
    blocks = Blocks(region.box.shape, side)
    boxes = (block.box.shift(region.box.start) for block in blocks)
    return sum(grid.count(_in_model(region, box)) for box in boxes)


def _in_model(region: Region, box: Box) -> Box:
    return box if region.way_back is None else region.way_back.needed(box)


def _model_extent(region: Region) -> Shape:
    return region.extent if region.way_back is None else region.way_back.source


def _advance(on_share: Callable[[float], None], tile_share: float, tiles: int) -> None:
    on_share(tiles * tile_share)


def _calibrated(region: Region, stats: BlockStats | None, scores: Scores) -> Callable[[Rows], None]:
    """Counts the probability of the winning class against the region's truth."""
    if stats is None:
        return lambda rows: None

    def add(rows: Rows) -> None:
        truth, valid = region.truth(rows.box)
        counted = valid if rows.decided is None else valid & rows.decided
        confidence = scores.of_labels(rows.sums, rows.labels)
        stats.calibration.add(confidence, truth == rows.labels, counted)

    return add


def _stitcher(
    region: Region, card: ModelCard, predictor: Predictor, options: PredictOptions
) -> Stitcher:
    options = as_card_says(options, card)
    grid, rank = make_grid(_model_extent(region), card, options)
    skip = card.skip
    skipped = next(k for k, c in enumerate(card.classes) if c.id == skip.label) if skip else 0
    rule = EmptyRule(NOWHERE, skip.below if skip else None, skipped, missing=card.missing)
    return Stitcher(
        grid=grid,
        taper=Taper(grid, options.taper),
        normaliser=region.rest,
        predictor=predictor,
        classes=len(card.classes),
        rank=rank,
        batch=options.batch or 1,
        empty=rule.seen_in(region.decided, card.background_index or 0),
        scores=scores_of(card),
    )
