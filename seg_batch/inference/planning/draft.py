"""The plan of one input: grid, blocks, memory, disk and time, from its header, the cards and the options."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from seg_batch.config.card import STORED, ModelCard
from seg_batch.config.postprocess import AnyStep, chain_to_json, needs_probabilities
from seg_batch.config.predict_options import PredictOptions
from seg_batch.core import hardware
from seg_batch.core.errors import NoRoomError, PlanError
from seg_batch.core.geometry import Blocks, Box, Grid, Shape
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
from seg_batch.inference.sliding_window.patch_choice import Layout, memory_step
from seg_batch.inference.sliding_window.tta import symmetries
from seg_batch.inference.wanted.idle import idle_blocks
from seg_batch.inference.wanted.parts import wanted_part
from seg_batch.io.sources.views.open_view import View
from seg_batch.io.vectors.area import Area

GPU_BATCH = 16  # patches at most; as many as fit in a quarter of the memory
FROM_OPTIONS = ("taper", "probabilities", "precision", "engine", "tta", "workers")  # of the options
# Of the sides of a patch that does not fit in memory, for the one that is named instead.
SMALLER = 0.9


def make_plan(
    view: View,
    cards: Sequence[ModelCard],
    options: PredictOptions,
    engine_why: str,
    identity: dict[str, Any],
    memory_asked: int = 0,
    begun: int | None = None,
    area: Area | None = None,
) -> DraftPlan:
    """All decisions for one input but the numbers of the normaliser.

    ``cards``: that of the model, and of further ones that are averaged with it. ``memory_asked``: bytes of a worker that
    the command names, by which a patch is chosen; 0: by the share of a core. ``begun``: the step of memory of the run that
    this one goes on with. ``area``: what is wanted of a raster. PlanError when it can't be done in the memory allowed."""
    card = together(cards)
    layout = _chosen(view, cards, card, options, memory_asked, begun)
    try:
        return _draft(view, cards, card, options, layout, engine_why, identity, area)
    except NoRoomError as error:
        raise _with_smaller(error, view, cards, card, options, layout) from None


def _chosen(
    view: View,
    cards: Sequence[ModelCard],
    card: ModelCard,
    options: PredictOptions,
    memory_asked: int,
    begun: int | None,
) -> Layout:
    """The layout of the options; of an automatic choice the first that lets the smallest block be done, one patch at a
    time, so that neither workers nor blocks nor batch have a say."""
    extent = view.model.info.extent
    step = memory_step(memory_asked) if begun is None else begun
    layout, limit = layout_for(extent, card, options, step), memory_asked or step
    while layout.by == "auto" and begun is None and layout.patch != card.patch and step > 1:
        if _least_bytes(view, cards, card, options, layout) <= limit:
            break
        step //= 2
        layout = layout_for(extent, card, options, step)
    return layout


def _least_bytes(
    view: View,
    cards: Sequence[ModelCard],
    card: ModelCard,
    options: PredictOptions,
    layout: Layout,
) -> int:
    """What a worker needs at least with these tiles."""
    extent = view.native.info.extent
    grid, _ = make_grid(view.model.info.extent, card, options, layout)
    costs = _costs(view, cards, scaled_to(card, layout.patch), options, grid, batch=1)
    blocks = Blocks(extent, chunk_of(extent))
    return costs.process(view.to_view(Box.whole(blocks.shape)).shape, len(blocks))


def _costs(
    view: View,
    cards: Sequence[ModelCard],
    card: ModelCard,
    options: PredictOptions,
    grid: Grid,
    batch: int,
) -> Costs:
    """``card``: with the costs of a patch of the grid."""
    rank = card.rank or len(grid.patch)
    return costs_of(
        *(view, card, info_of(options.engine)),
        grid=grid,
        batch=batch,
        probabilities=options.probabilities or needs_probabilities(requested_chain(card, options)),
        views=len(symmetries(options.tta, grid.patch[-rank:])),
        members=len(cards) - 1,
    )


def _with_smaller(
    error: NoRoomError,
    view: View,
    cards: Sequence[ModelCard],
    card: ModelCard,
    options: PredictOptions,
    layout: Layout,
) -> NoRoomError:
    """The error, with the nearest patch that fits in memory."""
    step, patch = card.multiple or (1,) * len(layout.patch), layout.patch
    while card.why_fixed is None:
        smaller = tuple(max(m, int(n * SMALLER) // m * m) for n, m in zip(patch, step, strict=True))
        if smaller == patch:
            break
        patch = smaller
        with suppress(PlanError):
            asked = replace(options, patch=patch)
            named = layout_for(view.model.info.extent, card, asked)
            _draft(view, cards, card, asked, named, "", {})
            told = f"patches of {_by(layout.patch)} are too large: {error}"
            return NoRoomError(f"{told}, or use --patch {_by(patch)}")
    return error


def _by(patch: Shape) -> str:
    return ",".join(map(str, patch))


def _draft(
    view: View,
    cards: Sequence[ModelCard],
    card: ModelCard,
    options: PredictOptions,
    layout: Layout,
    engine_why: str,
    identity: dict[str, Any],
    area: Area | None = None,
) -> DraftPlan:
    """The plan with these tiles; NoRoomError where they do not fit in memory."""
    info, card = view.native.info, scaled_to(card, layout.patch)
    grid, rank = make_grid(view.model.info.extent, card, options, layout)
    memory_bytes = options.memory_bytes or int(
        hardware.memory_bytes() * hardware.MEMORY_SHARE / options.workers
    )
    batch = options.batch or _batch(card, memory_bytes, len(grid))
    chain = requested_chain(card, options)
    require_chain_fits(chain, card, LabelContext.of(card, info.georef, info.extent))
    costs = _costs(view, cards, card, options, grid, batch)
    blocks = _blocks(costs, view, options, memory_bytes)
    work = _work(view, grid, blocks, area)
    predicted = work.tiles
    passes = costs.views * len(cards)
    plan = DraftPlan(
        **{name: getattr(options, name) for name in FROM_OPTIONS},
        **_of_input(view, card),
        **_needed(costs, blocks, view, card, options, chain, work.voxels),
        **{name: getattr(grid, name) for name in ("patch", "overlap", "margin")},
        patch_choice=layout.choice,
        tiling=grid.tiling.to_json(),
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
            flops=predicted * costs.views * card.compute.flops,
            voxels=math.prod(grid.extent) * predicted / len(grid) * passes,
            workers=options.workers,
        ),
        identity=identity,
        touched=None if work.blocks == len(blocks) else work.blocks,
    )
    check_memory(plan)
    return plan


@dataclass(frozen=True)
class _Work:
    """``blocks`` that are read, their ``voxels``, and the ``tiles`` that their wanted parts touch."""

    blocks: int
    voxels: int
    tiles: int


def _work(view: View, grid: Grid, blocks: Blocks, area: Area | None) -> _Work:
    idle = {block.index for block in idle_blocks(view.native, area, blocks).blocks}
    busy = [block.box for block in blocks if block.index not in idle]
    parts = [wanted_part(area, box) or box for box in busy]
    tiles = sum(grid.count(view.in_model(view.to_view(part))) for part in parts)
    return _Work(len(busy), sum(box.size for box in busy), tiles)


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
    voxels: int,
) -> dict[str, Any]:
    """The steps that follow prediction, and upper bounds in bytes of a process and of the disk."""
    info = view.native.info
    predicting = costs.process(view.to_view(Box.whole(blocks.shape)).shape, len(blocks))
    following = post_bytes(chain, info, card, chunk_of(info.extent), options.workers)
    return {
        "post": chain_to_json(chain),
        "promised_bytes": max(predicting, following),
        "disk_bytes": disk_bytes(view, card, chain, options.probabilities, voxels),
    }


def _orientation(view: View, card: ModelCard) -> str:
    """How the product is turned to what the model sees; on its grid it has the axes of that."""
    on_model = view.grid is not None and view.grid.output == "model"
    return STORED if on_model and card.orientation.startswith(STORED) else card.orientation


def _of_input(view: View, card: ModelCard) -> dict[str, Any]:
    """The sides of the input, and how its labels are written."""
    info = view.native.info
    # Rasters have nodata; volumes have none, so NaN there becomes background where 0 is one.
    has_background = info.kind == "volume" and any(c.id == 0 for c in card.classes)
    return {
        "extent": info.extent,
        "view_extent": view.model.info.extent,
        "orientation": _orientation(view, card) if info.kind == "volume" else "",
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
