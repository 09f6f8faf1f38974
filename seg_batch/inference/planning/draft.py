"""The plan of one input: grid, blocks, memory, disk and time, from its header, the cards and the options."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from seg_batch.config.card import ModelCard
from seg_batch.config.postprocess import AnyStep, chain_to_json, needs_probabilities
from seg_batch.config.predict_options import PredictOptions
from seg_batch.core import hardware
from seg_batch.core.errors import NoRoomError
from seg_batch.core.geometry import Blocks, Box
from seg_batch.core.registry.engines import info_of
from seg_batch.inference.costs import (
    Costs,
    choose_block,
    chunk_of,
    costs_of,
    disk_bytes,
    estimate_seconds,
    post_bytes,
    requested_block,
)
from seg_batch.inference.ensemble import together
from seg_batch.inference.plan import DraftPlan, check_memory, requested_chain
from seg_batch.inference.postprocess.label_context import LabelContext, require_chain_fits
from seg_batch.inference.sliding_window.grid import layout_for, make_grid, scaled_to
from seg_batch.inference.sliding_window.patch_choice import Layout
from seg_batch.inference.sliding_window.tta import symmetries
from seg_batch.io.sources.views.open_view import View

GPU_BATCH = 16  # patches at most; as many as fit in a quarter of the memory
FROM_OPTIONS = ("taper", "probabilities", "precision", "engine", "tta", "workers")  # of the options
SMALLER = (
    0.9  # of the sides of a patch that does not fit in memory, for the one that is named instead
)


def make_plan(
    view: View,
    cards: Sequence[ModelCard],
    options: PredictOptions,
    engine_why: str,
    identity: dict[str, Any],
    step_bytes: int = 0,
) -> DraftPlan:
    """All decisions for one input but the numbers of the normaliser.

    ``cards``: that of the model, and of further ones that are averaged with it. ``step_bytes``: see ``layout_for``.
    PlanError when it can't be done in the memory allowed."""
    card, extent = together(cards), view.model.info.extent
    layout = layout_for(extent, card, options, step_bytes)

    def draft(layout: Layout) -> DraftPlan:
        return _draft(
            view, cards, scaled_to(card, layout.patch), options, layout, engine_why, identity
        )

    while True:
        try:
            return draft(layout)
        except NoRoomError as error:
            if layout.by == "asked":
                raise _with_smaller(error, card, layout, draft) from None
            if layout.patch == card.patch or layout.by != "auto":
                raise
            layout = layout_for(extent, card, options, layout.step_bytes // 2)


def _with_smaller(
    error: NoRoomError, card: ModelCard, layout: Layout, draft: Callable[[Layout], DraftPlan]
) -> NoRoomError:
    """The error, with the nearest patch that fits in memory."""
    step, patch = card.multiple or (1,) * len(layout.patch), layout.patch
    while patch != (
        smaller := tuple(
            max(m, int(n * SMALLER) // m * m) for n, m in zip(patch, step, strict=True)
        )
    ):
        patch = smaller
        try:
            draft(
                replace(
                    layout,
                    patch=patch,
                    overlap=tuple(
                        min(o, n // 2) for o, n in zip(layout.overlap, patch, strict=True)
                    ),
                    margin=(0,) * len(patch),
                )
            )
        except NoRoomError:
            continue
        asked, less = (",".join(map(str, sides)) for sides in (layout.patch, patch))
        return NoRoomError(f"--patch {asked}: {error}, or use --patch {less}")
    return error


def _draft(
    view: View,
    cards: Sequence[ModelCard],
    card: ModelCard,
    options: PredictOptions,
    layout: Layout,
    engine_why: str,
    identity: dict[str, Any],
) -> DraftPlan:
    """The plan with these tiles; NoRoomError where they do not fit in memory."""
    info = view.native.info
    grid, rank = make_grid(view.model.info.extent, card, options, layout)
    views = len(symmetries(options.tta, grid.patch[-rank:]))
    memory_bytes = options.memory_bytes or int(
        hardware.memory_bytes() * hardware.MEMORY_SHARE / options.workers
    )
    batch = options.batch or _batch(card, memory_bytes, len(grid))
    chain = requested_chain(card, options)
    require_chain_fits(chain, card, LabelContext.of(card, info.georef, info.extent))
    costs = costs_of(
        *(view, card, info_of(options.engine)),
        grid=grid,
        batch=batch,
        probabilities=options.probabilities or needs_probabilities(chain),
        views=views,
        members=len(cards) - 1,
    )
    blocks = _blocks(costs, view, options, memory_bytes)
    predicted = sum(grid.count(view.in_model(view.to_view(b.box))) for b in blocks)
    passes = views * len(cards)
    plan = DraftPlan(
        **{name: getattr(options, name) for name in FROM_OPTIONS},
        **_of_input(view, card),
        **_needed(costs, blocks, view, card, options, chain),
        **{name: getattr(grid, name) for name in ("patch", "overlap", "margin")},
        patch_choice=layout.choice,
        engine_why=engine_why,
        block=blocks.shape,
        rank=rank,
        batch=batch,
        passes=passes,
        blocks=len(blocks),
        tiles=len(grid),
        recompute=predicted / len(grid),
        memory_bytes=memory_bytes,
        seconds_estimate=estimate_seconds(
            options.engine,
            options.precision,
            flops=predicted * views * card.compute.flops,
            voxels=math.prod(grid.extent) * predicted / len(grid) * passes,
            workers=options.workers,
        ),
        identity=identity,
    )
    check_memory(plan)
    return plan


def _batch(card: ModelCard, memory_bytes: int, tiles: int) -> int:
    """One patch on a CPU, where more gain nothing and padding the last batch costs; on a GPU as many as fit."""
    if not hardware.gpus():
        return 1
    fits = memory_bytes // 4 // max(1, card.compute.activation_bytes)
    return max(1, min(GPU_BATCH, fits, tiles))


def _blocks(costs: Costs, view: View, options: PredictOptions, memory_bytes: int) -> Blocks:
    """In the file's own axes: of the shape of ``--block``, else of the shape that ends soonest."""
    extent = view.native.info.extent
    chunk = chunk_of(extent)
    if options.block:
        return Blocks(extent, requested_block(options.block, extent, chunk))
    return Blocks(extent, choose_block(costs, extent, view, chunk, options.workers, memory_bytes))


def _needed(
    costs: Costs,
    blocks: Blocks,
    view: View,
    card: ModelCard,
    options: PredictOptions,
    chain: tuple[AnyStep, ...],
) -> dict[str, Any]:
    """The steps that follow prediction, and upper bounds in bytes of a process and of the disk."""
    info = view.native.info
    predicting = costs.process(view.to_view(Box.whole(blocks.shape)).shape, len(blocks))
    following = post_bytes(chain, info, card, chunk_of(info.extent), options.workers)
    return {
        "post": chain_to_json(chain),
        "promised_bytes": max(predicting, following),
        "disk_bytes": disk_bytes(view, card, chain, options.probabilities),
    }


def _of_input(view: View, card: ModelCard) -> dict[str, Any]:
    """The sides of the input, and how its labels are written."""
    info = view.native.info
    # Rasters have nodata; volumes have none, so NaN there becomes background where 0 is one.
    has_background = info.kind == "volume" and any(c.id == 0 for c in card.classes)
    return {
        "extent": info.extent,
        "view_extent": view.model.info.extent,
        "orientation": card.orientation if info.kind == "volume" else "",
        "chunk": chunk_of(info.extent),
        "classes": len(card.classes),
        "label_dtype": card.label_dtype,
        "nodata": card.nodata,
        "empty_label": 0 if has_background else card.nodata,
        "skip_below": card.skip.below if card.skip else None,
        "skip_label": card.skip.label if card.skip else 0,
        "model_grid": view.grid and view.grid.to_json(),
        "missing": card.missing if len(info.channels) > 1 else "all",  # which of one are the same
    }
