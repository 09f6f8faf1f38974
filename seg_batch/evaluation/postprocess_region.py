"""The postprocess chain on a held-out region, so that a bundle is scored on what predict would write.

A region is processed by itself: objects end at its border, and the random field does not read past it.
That equals predict where the region is a whole case. Of a box within a larger case it differs near the
border, and ``largest`` is the largest within the box.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from seg_batch.config.card import ModelCard
from seg_batch.config.postprocess import AnyStep
from seg_batch.config.predict_options import PredictOptions
from seg_batch.core.geometry import Box, Shape
from seg_batch.core.normalise import Normaliser, Pixels
from seg_batch.inference.costs import CHUNK
from seg_batch.inference.plan import requested_chain
from seg_batch.inference.postprocess.array_chain import run_chain
from seg_batch.inference.postprocess.costs import blocks_of
from seg_batch.inference.postprocess.label_context import LabelContext, require_chain_fits
from seg_batch.io.sources.areas.pixel_areas import PixelAreas


class SeenRegion(Protocol):
    """A region: ``box`` is predicted; ``read`` reaches a patch further, within ``extent``."""

    @property
    def extent(self) -> Shape: ...

    @property
    def box(self) -> Box: ...

    @property
    def normaliser(self) -> Normaliser: ...

    def read(self, box: Box) -> Pixels: ...


@dataclass(frozen=True)
class RegionPostprocess:
    """The chain and its context, in which labels are class indices; ``spacing`` of voxels (m, mm); ``missing``: see
    ``Pixels.with_data``."""

    chain: tuple[AnyStep, ...]
    context: LabelContext
    spacing: tuple[float, ...] | None
    missing: str = "all"

    @classmethod
    def of(
        cls,
        card: ModelCard,
        options: PredictOptions,
        spacing: tuple[float, ...] | None,
        areas: PixelAreas | None = None,
    ) -> RegionPostprocess:
        """PlanError where the chain does not fit the model or voxels of this spacing. ``areas``: of the
        region's pixels, counted from its start, where they are known."""
        chain = requested_chain(card, options)
        unit, each = None, 0.0
        if spacing is not None:
            unit, each = ("ha", 1e-4) if len(spacing) == 2 else ("mL", 1e-3)
            each *= math.prod(spacing)
        ids = {c.name: k for k, c in enumerate(card.classes)}
        nodata = np.iinfo(np.min_scalar_type(len(ids) + 1)).max
        context = LabelContext(ids, card.background_index, int(nodata), unit, each, areas)
        require_chain_fits(chain, card, context)
        return cls(chain, context, spacing, card.missing)

    def apply(self, region: SeenRegion, labels: np.ndarray, kept: np.ndarray | None) -> None:
        """Change ``labels`` of the region in place; ``kept``: probabilities ``(classes, *shape)``.

        Voxels without data are nodata for all steps, then the first class; they are not scored.
        """
        if not self.chain:
            return
        chunk = (CHUNK[labels.ndim],) * labels.ndim
        blocks = blocks_of(labels.shape, chunk)
        for block in blocks:
            pixels = region.read(block.box.shift(region.box.start))
            valid = pixels.with_data(self.missing)
            labels[block.box.slices()][~valid] = self.context.nodata

        def image(box: Box) -> tuple[np.ndarray, np.ndarray | None]:
            pixels = region.read(box.shift(region.box.start))
            return region.normaliser(pixels), pixels.with_data(self.missing)

        run_chain(
            self.chain,
            labels,
            self.context,
            block=blocks.shape,
            probabilities=kept,
            image=image,
            spacing=self.spacing,
        )
        for block in blocks:
            part = labels[block.box.slices()]
            part[part == self.context.nodata] = 0
