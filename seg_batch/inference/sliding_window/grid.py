"""The grid of tiles that a model is applied on: patch, overlap and margin, from its card and the options."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from seg_batch.config.card import ModelCard
from seg_batch.config.predict_options import ModelOptions, PredictOptions
from seg_batch.core.errors import PlanError
from seg_batch.core.geometry import Grid, Shape, Tiling
from seg_batch.core.units import show_bytes
from seg_batch.inference.sliding_window.patch_choice import (
    BLOCK_VOXELS,
    Layout,
    cheapest,
    memory_step,
    most_voxels,
    nominal_block,
)

DEFAULT_PATCH = {2: (512, 512), 3: (64, 64, 64)}
DEFAULT_TAPER = "hann"
AS_TRAINED = PredictOptions(patch="card", overlap="card")


def as_card_says[Options: ModelOptions](options: Options, card: ModelCard) -> Options:
    """The options with the taper and the views of the card, where they name none."""
    taper = card.taper or DEFAULT_TAPER if options.taper == "auto" else options.taper
    tta = card.tta if options.tta == "auto" else options.tta
    return replace(options, taper=taper, tta=tta)


def layout_for(
    extent: Shape, card: ModelCard, options: PredictOptions, step_bytes: int | None = None
) -> Layout:
    """Patch, overlap and margin for a view of ``extent``. ``step_bytes``: of memory, for an automatic choice; None: by the
    options and this machine. PlanError where those of the options do not fit the model."""
    options = as_card_says(options, card)
    rank = card.rank or len(extent)
    trained = card.patch or DEFAULT_PATCH[rank]
    if isinstance(options.patch, tuple):
        patch = _asked(options.patch, card, trained)
        layout = Layout(patch, *_overlap_and_margin(patch, card, options), "asked", "asked for")
    else:
        layout = Layout(
            trained, *_overlap_and_margin(trained, card, options), "card", _why_card(card, options)
        )
    if not layout.why:
        step = memory_step(options.memory_bytes) if step_bytes is None else step_bytes
        layout = automatic(
            extent, card, layout.overlap, layout.margin, options.engine, options.tta, step
        )
    if options.taper == "crop":
        layout = replace(layout, margin=tuple(o // 2 for o in layout.overlap))
    return layout


def _why_card(card: ModelCard, options: PredictOptions) -> str:
    """Why the patch is that of the card; empty where another may be chosen."""
    return "as trained, as asked for" if options.patch == "card" else card.why_fixed or ""


def automatic(
    extent: Shape,
    card: ModelCard,
    overlap: Shape,
    margin: Shape,
    engine: str,
    tta: str,
    step_bytes: int,
) -> Layout:
    """The layout that costs least for tiles that share at least ``overlap``."""
    rank = len(overlap)
    seen = tuple(-(-n // card.finer) for n in extent[-rank:])
    patch, shared = cheapest(
        *(seen, card, overlap, margin),
        block=nominal_block(seen, BLOCK_VOXELS[len(extent)] // card.finer**rank),
        most=most_voxels(card, engine, step_bytes),
        square=tta.startswith("d4"),
    )
    why = f"computes the fewest voxels with {show_bytes(step_bytes)} a worker"
    return Layout(patch, shared, margin, "auto", why, step_bytes, overlap, margin)


def _asked(patch: Shape, card: ModelCard, trained: Shape) -> Shape:
    """The patch of ``--patch``; PlanError, with the nearest that fit, where the model does not take it."""
    words = ",".join(map(str, patch))
    if patch == trained:
        return patch
    if card.why_fixed is not None:
        raise PlanError(
            f"--patch {words}: {card.name} takes patches of {','.join(map(str, trained))} alone "
            f"({card.why_fixed}): leave out --patch"
        )
    if len(patch) != len(trained):
        raise PlanError(
            f"--patch {words}: the model is {len(trained)}-D, give {len(trained)} sides"
        )
    if near := [near for near in _nearest(patch, card.multiple or ()) if near != patch]:
        raise PlanError(
            f"--patch {words}: sides of {card.name} are multiples of {','.join(map(str, card.multiple or ()))}: "
            f"use --patch {' or '.join(','.join(map(str, n)) for n in dict.fromkeys(near))}"
        )
    return patch


def _nearest(patch: Shape, multiple: Shape) -> Iterator[Shape]:
    """The fitting patches below and above."""
    yield tuple(max(m, n // m * m) for n, m in zip(patch, multiple, strict=True))
    yield tuple(-(-n // m) * m for n, m in zip(patch, multiple, strict=True))


def _overlap_and_margin(
    patch: Shape, card: ModelCard, options: PredictOptions
) -> tuple[Shape, Shape]:
    """What neighbouring tiles share and what of it is not trusted, in voxels per axis; of what a network labels of a patch,
    where that is less."""
    shrink, wanted = card.output.shrink or (0,) * len(patch), options.overlap
    trained = tuple(n - 2 * m for n, m in zip(card.patch or patch, shrink, strict=True))
    patch = tuple(n - 2 * m for n, m in zip(patch, shrink, strict=True))
    if wanted in (None, "auto") and card.border is not None:
        overlap, margin = card.border.overlap, card.border.margin
    else:
        margin = card.margin or (0,) * len(patch)
        overlap = card.overlap or tuple(p // 8 for p in trained)
    if not isinstance(wanted, int):
        sides = zip(overlap, patch, trained, strict=True)
        overlap = tuple(o if p >= t else min(o, p // 2) for o, p, t in sides)
        return overlap, tuple(min(m, o // 2) for m, o in zip(margin, overlap, strict=True))
    overlap = tuple(min(wanted, p - 1) for p in patch)
    if max(overlap) < wanted:
        raise PlanError(
            f"an overlap of {wanted} leaves no stride in a patch of {max(patch)}: "
            f"use less than {max(patch)}"
        )
    if options.taper != "crop" and any(2 * m > o for m, o in zip(margin, overlap, strict=True)):
        raise PlanError(
            f"an overlap of {wanted} is less than both margins of {card.name}, {max(margin)} voxels each, which leave "
            f"voxels without a tile: use {2 * max(margin)} or more"
        )
    return overlap, margin


def make_grid(
    extent: Shape, card: ModelCard, options: PredictOptions, layout: Layout | None = None
) -> tuple[Grid, int]:
    """The grid over a view of ``extent`` and the model's spatial rank. ``layout``: that of ``layout_for``, where it is known.

    A 2-D model on a volume gets patches one slice thick. The sides of a ``finer`` model are counted
    in voxels of its input, ``extent`` and grid in those of its output.
    """
    layout = layout or layout_for(extent, card, options)
    rank = len(layout.patch)
    lead = len(extent) - rank
    patch, overlap, margin, shrink, begins = (
        (fill,) * lead + tuple(n * card.finer for n in side)
        for fill, side in (
            (1, layout.patch),
            (0, layout.overlap),
            (0, layout.margin),
            (0, card.output.shrink or (0,) * rank),
            (0, card.lead or (0,) * rank),
        )
    )
    tiling = Tiling(
        shrink if any(shrink) else (),
        card.padding,
        card.tiles == "even",
        _step(card),
        begins if any(begins) else (),
    )
    labelled = tuple(n - 2 * m for n, m in zip(patch, shrink, strict=True))
    try:
        grid = Grid(extent, labelled, overlap, margin, tiling)
    except ValueError as error:
        raise PlanError(f"{error}; use another --overlap") from None
    return grid, rank


def _step(card: ModelCard) -> int:
    """Voxels of the grid in one of the model's input, where tiles are laid out by these."""
    return card.finer if card.padding == "zero" else 1


def scaled_to(card: ModelCard, patch: Shape) -> ModelCard:
    """The card with the costs of a patch of this shape (voxels of its input)."""
    if card.patch is None or patch == card.patch:
        return card
    share, compute = math.prod(patch) / math.prod(card.patch), card.compute
    scaled = {
        "activation_bytes": int(compute.activation_bytes * share),
        "flops": compute.flops * share,
    }
    return card.model_copy(update={"compute": compute.model_copy(update=scaled)})
