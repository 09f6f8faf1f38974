"""What is decided before work begins: grid, blocks, memory, and what must stay equal to resume.

Nothing here reads pixels or imports TensorFlow. A plan is a frozen value, JSON in and out; it
states bytes per worker before any work and refuses what can't fit (law 5).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np

from seg_batch.config.card import Compute, ModelCard
from seg_batch.config.postprocess import (
    AnyStep,
    from_json,
    needs_probabilities,
    parse_chain,
    to_json,
)
from seg_batch.config.predict_options import Options
from seg_batch.core import hardware, units
from seg_batch.core.errors import PlanError
from seg_batch.core.geometry import Blocks, Box, Grid, Shape
from seg_batch.core.normalise import Normaliser
from seg_batch.inference.costs import (
    ACTIVATION_SHARE,
    ENGINE_BYTES,
    Costs,
    asked_block,
    choose_block,
    coarse_bytes,
    disk_bytes,
    post_bytes,
    seconds,
)
from seg_batch.inference.postprocess.label_context import Setting, require_fit
from seg_batch.inference.sliding_window.grid import make_grid
from seg_batch.inference.sliding_window.tta import symmetries
from seg_batch.io.sources.protocol import SourceInfo
from seg_batch.io.sources.views.open_view import View

CHUNK = {2: 1024, 3: 128}
MEMORY_SHARE = 0.6
GPU_BATCH = 16
LAYOUT = 1


@dataclass(frozen=True)
class Plan:
    """Every decision of one run. Shapes are voxels; ``extent``, ``block`` and ``chunk`` are in the
    file's own axes, ``view_extent``, ``patch``, ``overlap`` and ``margin`` in the model's view."""

    extent: Shape
    view_extent: Shape
    orientation: str
    patch: Shape
    overlap: Shape
    margin: Shape
    taper: str
    block: Shape
    chunk: Shape
    rank: int
    batch: int
    classes: int
    probabilities: bool
    precision: str
    normaliser: dict[str, Any]
    label_dtype: str
    nodata: int
    empty_label: int
    skip_below: float | None
    skip_label: int
    workers: int
    blocks: int
    tiles: int
    recompute: float
    promised_bytes: int
    memory_bytes: int
    disk_bytes: int
    seconds_estimate: float
    engine: str = "tensorflow"
    engine_why: str = ""
    tta: str = "none"
    passes: int = 1
    post: tuple[dict[str, Any], ...] = ()
    fingerprint: dict[str, Any] = field(default_factory=dict)

    @property
    def grid(self) -> Grid:
        return Grid(self.view_extent, self.patch, self.overlap, self.margin)

    @property
    def output_blocks(self) -> Blocks:
        return Blocks(self.extent, self.block)

    @property
    def chain(self) -> tuple[AnyStep, ...]:
        """The steps that follow prediction."""
        return from_json(self.post)

    @property
    def keeps_probabilities(self) -> bool:
        """Whether the work store holds them: they were asked for, or a later step needs them."""
        return self.probabilities or needs_probabilities(self.post)

    @property
    def of_prediction(self) -> dict[str, Any]:
        """The part of the fingerprint that the work store answers for: what follows prediction is
        not in it, so that another chain takes over what was predicted."""
        kept = {"probabilities": self.keeps_probabilities}
        return {k: v for k, v in {**self.fingerprint, **kept}.items() if k != "post"}

    @property
    def tiles_predicted(self) -> int:
        return round(self.tiles * self.recompute)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Plan:
        known = {f.name for f in fields(cls)}
        tuples: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k in known
        }
        return cls(**tuples)


def _default_memory(workers: int) -> int:
    return int(hardware.memory_bytes() * MEMORY_SHARE / workers)


def _batch(card: ModelCard, options: Options, memory_bytes: int, tiles: int) -> int:
    """Patches per model call. One on a CPU, where more gain nothing and padding the last batch
    costs; on a GPU what fits in a quarter of the memory, at most 16."""
    if options.batch or not hardware.gpus():
        return options.batch or 1
    fits = memory_bytes // 4 // max(1, card.compute.activation_bytes)
    return max(1, min(GPU_BATCH, fits, tiles))


def _costs(info: SourceInfo, card: ModelCard, options: Options, grid: Grid, batch: int) -> Costs:
    share = ACTIVATION_SHARE.get(options.engine, 1.0)
    return Costs(
        grid=grid,
        in_bytes=info.voxel_bytes + coarse_bytes(info, card),
        channels=len(info.channels),
        classes=len(card.classes),
        label_bytes=np.dtype(card.label_dtype).itemsize,
        probabilities=options.probabilities or needs_probabilities(chain_of(info, card, options)),
        batch=batch,
        model_bytes=ENGINE_BYTES.get(options.engine, 0) if card.weights_sha256 else 0,
        activation_bytes=int(share * card.compute.activation_bytes),
    )


def _together(*cards: ModelCard) -> Compute:
    """What a patch costs in an ensemble: every member computes, and keeps what it computes in."""
    return Compute(
        activation_bytes=sum(card.compute.activation_bytes for card in cards),
        flops=sum(card.compute.flops for card in cards),
    )


def make_plan(
    info: SourceInfo,
    view: View,
    card: ModelCard,
    options: Options,
    identity: dict[str, Any],
    members: tuple[ModelCard, ...] = (),
) -> Plan:
    """All decisions for one input but the numbers of the normaliser (see ``normalised``).

    ``identity``: what else must stay equal for a run to be resumed (input, model). ``members``:
    the cards of further models that are averaged with this one's. PlanError when it can't be done
    in the memory allowed."""
    grid, rank = make_grid(view.info.extent, card, options)
    views = len(symmetries(options.tta, grid.patch[-rank:]))
    card = card.model_copy(update={"compute": _together(card, *members)})
    memory_bytes = options.memory_bytes or _default_memory(options.workers)
    batch = _batch(card, options, memory_bytes, len(grid))
    costs = replace(_costs(info, card, options, grid, batch), views=views, members=len(members))
    chunk = tuple(min(CHUNK[len(info.extent)], n) for n in info.extent)
    if options.block:
        block = asked_block(options.block, info.extent, chunk)
    else:
        block = choose_block(costs, info.extent, view, chunk, options.workers, memory_bytes)
    blocks = Blocks(info.extent, block)
    promised = costs.process(view.to_view(Box.whole(block)).shape, len(blocks))
    chain = chain_of(info, card, options)
    passes = views * (1 + len(members))
    promised = max(promised, post_bytes(chain, info, card, chunk, options.workers))
    predicted = sum(grid.count(view.to_view(b.box)) for b in blocks)
    plan = Plan(
        extent=info.extent,
        view_extent=view.info.extent,
        orientation=card.orientation if info.kind == "volume" else "",
        patch=grid.patch,
        overlap=grid.overlap,
        margin=grid.margin,
        taper=options.taper,
        block=block,
        chunk=chunk,
        rank=rank,
        batch=batch,
        classes=len(card.classes),
        probabilities=options.probabilities,
        precision=options.precision,
        engine=options.engine,
        tta=options.tta,
        passes=passes,
        post=to_json(chain),
        normaliser={},
        label_dtype=card.label_dtype,
        nodata=card.nodata,
        empty_label=_empty_label(info, card),
        skip_below=card.skip.below if card.skip else None,
        skip_label=card.skip.label if card.skip else 0,
        workers=options.workers,
        blocks=len(blocks),
        tiles=len(grid),
        recompute=predicted / len(grid),
        promised_bytes=promised,
        memory_bytes=memory_bytes,
        disk_bytes=disk_bytes(info, card, chain, options.probabilities),
        seconds_estimate=seconds(
            options.engine,
            options.precision,
            flops=predicted * views * card.compute.flops,
            voxels=math.prod(info.extent) * predicted / len(grid) * passes,
            workers=options.workers,
        ),
        fingerprint=identity,
    )
    check_memory(plan)
    return plan


def normalised(plan: Plan, normaliser: Normaliser) -> Plan:
    """The plan with its normaliser's numbers, and so with its whole fingerprint."""
    plan = replace(plan, normaliser=asdict(normaliser))
    return replace(plan, fingerprint=_fingerprint(plan, plan.fingerprint))


def _empty_label(info: SourceInfo, card: ModelCard) -> int:
    """Rasters have nodata; volumes have none, so NaN there becomes background where 0 is one."""
    background = any(c.id == 0 for c in card.classes)
    return 0 if info.kind == "volume" and background else card.nodata


def check_memory(plan: Plan) -> None:
    """PlanError when a worker may use less than the plan promises to need."""
    if plan.promised_bytes > plan.memory_bytes:
        raise PlanError(
            f"blocks of {'x'.join(map(str, plan.block))} need "
            f"{units.show_bytes(plan.promised_bytes)} per worker, allowed are "
            f"{units.show_bytes(plan.memory_bytes)}: raise --memory or use fewer --workers"
        )


def _fingerprint(plan: Plan, identity: dict[str, Any]) -> dict[str, Any]:
    """What must be equal for two runs to write the same bytes. Blocks, batch and workers are not
    in it: a resumed run takes over the blocks it finds."""
    decided = {
        name: getattr(plan, name)
        for name in [
            "extent",
            "orientation",
            "patch",
            "overlap",
            "margin",
            "taper",
            "chunk",
            "probabilities",
            "precision",
            "engine",
            "tta",
            "normaliser",
            "label_dtype",
            "empty_label",
            "skip_below",
            "skip_label",
            "post",
        ]
    }
    plain = {k: list(v) if isinstance(v, tuple) else v for k, v in decided.items()}
    return {"layout": LAYOUT, **plain, **identity}


def adopt(plan: Plan, stored: Plan) -> Plan:
    """The plan of a resumed run: the blocks and batch of the store, the workers of now, and what
    is asked now of the steps after prediction."""
    kept = replace(
        stored,
        workers=plan.workers,
        memory_bytes=plan.memory_bytes,
        fingerprint=plan.fingerprint,
        post=plan.post,
        probabilities=plan.probabilities,
        promised_bytes=max(stored.promised_bytes, plan.promised_bytes),
        disk_bytes=max(stored.disk_bytes, plan.disk_bytes),
    )
    check_memory(kept)
    return kept


def chain_of(info: SourceInfo, card: ModelCard, options: Options) -> tuple[AnyStep, ...]:
    """The steps that follow prediction: those asked for, else the card's. PlanError when they do
    not fit the model or the input."""
    chain = asked_chain(card, options)
    require_fit(chain, card, Setting.of(card, info.georef))
    return chain


def asked_chain(card: ModelCard, options: Options) -> tuple[AnyStep, ...]:
    """The steps of ``options``, else those of the card; not looked at yet."""
    return card.post if options.post is None else parse_chain(options.post)
