"""A held-out region through the production stitcher, and what is counted on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from seg_batch.config.card import ModelCard
from seg_batch.config.predict_options import PredictOptions
from seg_batch.core.geometry import Blocks, Box, Shape
from seg_batch.core.taper import Taper
from seg_batch.evaluation.metrics import Calibration
from seg_batch.evaluation.postprocess_region import PostprocessedRegion, SeenRegion
from seg_batch.inference.sliding_window.block import Rows, predict_block
from seg_batch.inference.sliding_window.grid import make_grid
from seg_batch.inference.sliding_window.seams import SeamCounts
from seg_batch.inference.sliding_window.stitch import EmptyRule, Predictor, Stitcher

BLOCK = {2: 2048, 3: 192}
NOWHERE = 0  # the class of voxels without data, of which none is scored


class Region(SeenRegion, Protocol):
    """Pixels with a truth, of a case; ``box`` is scored.

    ``truth(box)``: class indices and where they count, ``box.shape`` each.
    """

    @property
    def case(self) -> str: ...

    def truth(self, box: Box) -> tuple[np.ndarray, np.ndarray]: ...


@dataclass
class BlockStats:
    """Calibration and seams, summed over regions while they are predicted."""

    classes: int
    calibration: Calibration = field(default_factory=Calibration)
    seams: SeamCounts | None = None
    blocks: int = 0

    def add_seams(self, counts: SeamCounts) -> None:
        """Volumes and scenes have other axes: a dataset has one kind only."""
        self.seams = counts if self.seams is None else self.seams + counts
        self.blocks += 1


def predicted(
    region: Region,
    card: ModelCard,
    predictor: Predictor,
    taper: str = "hann",
    *,
    options: PredictOptions | None = None,
    watch: BlockStats | None = None,
    on_share: Callable[[float], None] = lambda share: None,
    keep: np.ndarray | None = None,
) -> Iterator[tuple[Box, np.ndarray]]:
    """The region block by block: boxes of its case, and the class index of each voxel.

    ``options`` (overlap, taper, batch) go before ``taper``. ``watch`` counts calibration against the
    region's truth, and seams. ``on_share`` is told which share of the region was predicted. ``keep``:
    an array ``(classes, *region.box.shape)`` of uint8 that gets the probabilities, 0 without data.
    """
    stitcher = _stitcher(region, card, predictor, options or PredictOptions(taper=taper))
    ids = np.arange(stitcher.classes, dtype=np.min_scalar_type(stitcher.classes))
    side = (BLOCK[len(region.extent)],) * len(region.extent)
    for block in Blocks(region.box.shape, side):
        box = block.box.shift(region.box.start)
        share = box.size / region.box.size / stitcher.grid.count(box)
        found = predict_block(
            stitcher,
            lambda window: (region.read(window), []),
            box,
            ids,
            probabilities=None if keep is None else keep[:, *block.box.slices()],
            on_tiles=_scaled(on_share, share),
            on_rows=_calibrated(region, watch),
        )
        if watch is not None:
            watch.add_seams(found.seams)
        yield box, found.labels


def _calibrated(region: Region, watch: BlockStats | None) -> Callable[[Rows], None]:
    """How sure the model is, where it decides, against the region's truth."""
    if watch is None:
        return lambda rows: None

    def add(rows: Rows) -> None:
        truth, valid = region.truth(rows.box)
        counted = valid if rows.decided is None else valid & rows.decided
        sure = np.clip(rows.sums.max(-1), 0, 1)
        watch.calibration.add(sure, truth == rows.labels, counted)

    return add


def _scaled(on_share: Callable[[float], None], each: float) -> Callable[[int], None]:
    return lambda tiles: on_share(tiles * each)


def _stitcher(
    region: Region, card: ModelCard, predictor: Predictor, options: PredictOptions
) -> Stitcher:
    grid, rank = make_grid(region.extent, card, options)
    skip = card.skip
    skipped = next(k for k, c in enumerate(card.classes) if c.id == skip.label) if skip else 0
    return Stitcher(
        grid=grid,
        taper=Taper(grid, options.taper),
        normaliser=region.normaliser,
        predictor=predictor,
        classes=len(card.classes),
        rank=rank,
        batch=options.batch or 1,
        empty=EmptyRule(NOWHERE, skip.below if skip else None, skipped),
    )


def to_disk(
    region: Region,
    card: ModelCard,
    predictor: Predictor,
    folder: Path,
    options: PredictOptions,
    watch: BlockStats,
    on_share: Callable[[float], None] = lambda share: None,
    spacing: tuple[float, ...] | None = None,
) -> np.ndarray:
    """The region's class indices after the chain of ``options``, else of the card, as an array on
    disk, ``region.box.shape``, in ``folder``. ``spacing``: of its voxels, in metres or mm."""
    after = PostprocessedRegion.of(card, options, spacing)
    dtype = np.min_scalar_type(len(card.classes) + 1)  # one more for voxels without data
    out = _mapped(folder / "predicted.npy", dtype, region.box.shape)
    shape = (len(card.classes), *region.box.shape)
    kept = _mapped(folder / "kept.npy", np.dtype("uint8"), shape) if after.keeps else None
    steps = predicted(
        region, card, predictor, options=options, watch=watch, on_share=on_share, keep=kept
    )
    for box, classes in steps:
        out[box.slices(region.box.start)] = classes
    after.apply(region, out, kept)
    return out


def _mapped(path: Path, dtype: np.dtype, shape: Shape) -> np.ndarray:
    path.unlink(missing_ok=True)  # an earlier region may still be mapped
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
