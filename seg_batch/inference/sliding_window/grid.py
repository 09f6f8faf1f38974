"""The grid of tiles that a model is applied on: patch, overlap and margin, from its card and the options."""

from __future__ import annotations

from typing import Literal

from seg_batch.config.card import ModelCard
from seg_batch.config.predict_options import PredictOptions
from seg_batch.core.errors import PlanError
from seg_batch.core.geometry import Grid, Shape

DEFAULT_PATCH = {2: (512, 512), 3: (64, 64, 64)}


def _overlap_and_margin(
    patch: Shape, card: ModelCard, wanted: int | Literal["auto"] | None
) -> tuple[Shape, Shape]:
    """What neighbouring tiles share and what of it is not trusted, in voxels per axis."""
    if wanted == "auto" and card.border is not None:
        return card.border.overlap, card.border.margin
    margin = card.margin or (0,) * len(patch)
    if wanted is None or wanted == "auto":
        return card.overlap or tuple(p // 8 for p in patch), margin
    overlap = tuple(min(wanted, p - 1) for p in patch)
    if max(overlap) < wanted:
        raise PlanError(
            f"an overlap of {wanted} leaves no stride in a patch of {max(patch)}: "
            f"use less than {max(patch)}"
        )
    return overlap, margin


def make_grid(extent: Shape, card: ModelCard, options: PredictOptions) -> tuple[Grid, int]:
    """The grid over a view of ``extent`` and the model's spatial rank.

    A 2-D model on a volume gets patches one slice thick. The sides of a ``finer`` model are counted
    in voxels of its input, ``extent`` and grid in those of its output.
    """
    rank = card.rank or len(extent)
    patch = card.patch or DEFAULT_PATCH[rank]
    overlap, margin = _overlap_and_margin(patch, card, options.overlap)
    if options.taper == "crop":
        margin = tuple(o // 2 for o in overlap)
    lead = len(extent) - rank
    sides = (
        (fill,) * lead + tuple(n * card.finer for n in side)
        for fill, side in ((1, patch), (0, overlap), (0, margin))
    )
    try:
        grid = Grid(extent, *sides)
    except ValueError as error:
        raise PlanError(f"{error}; use another --overlap") from None
    return grid, rank
