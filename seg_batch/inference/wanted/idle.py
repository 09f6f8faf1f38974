"""Blocks without a voxel that the model decides, which is known before anything is read.

They are all nodata, as a worker would find, so the coordinator ends them itself: no task, no chunk, one note in the store for all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import numpy as np

from seg_batch.core.geometry import Block
from seg_batch.core.hardware import here
from seg_batch.inference.plan import Decisions
from seg_batch.inference.sliding_window.block import Receipt
from seg_batch.inference.sliding_window.seams import SeamCounts
from seg_batch.io.sinks.chunks import crc32
from seg_batch.io.sinks.work_store import WorkStore
from seg_batch.io.sources.constant import constant
from seg_batch.io.sources.protocol import Source, known_empty
from seg_batch.io.sources.views.open_view import View
from seg_batch.io.vectors.area import Area


@dataclass(frozen=True)
class Idle:
    """``outside``: blocks that hold no pixel of the area; ``empty``: those of which the file's index says it."""

    outside: tuple[Block, ...] = ()
    empty: tuple[Block, ...] = ()

    @property
    def blocks(self) -> tuple[Block, ...]:
        return (*self.outside, *self.empty)


def idle_blocks(native: Source, area: Area | None, blocks: Iterable[Block]) -> Idle:
    """Those of some blocks of a raster; none of a volume, whose empty voxels may be background."""
    outside, empty = list[Block](), list[Block]()
    if native.info.kind != "raster":
        return Idle()
    for block in blocks:
        if area is not None and not area.touches(block.box):
            outside.append(block)
        elif known_empty(native, block.box):
            empty.append(block)
    return Idle(tuple(outside), tuple(empty))


def end_idle(idle: Idle, plan: Decisions, view: View, store: WorkStore) -> dict[str, Receipt]:
    """Note them as done; their receipts by name. Those that are empty count their tiles as skipped, as a worker does."""
    seams = SeamCounts.zero(len(plan.view_extent), plan.classes).to_json()
    shared = {"seams": seams, "lost_voxels": 0, "unreadable": [], "worker": here()}
    notes, outside = {}, {block.name for block in idle.outside}
    for block in idle.blocks:
        tiles = 0
        if block.name not in outside:
            wanted = view.in_model(view.to_view(block.box))
            tiles = plan.grid.count(wanted) if wanted.size else 0
        labels = constant(np.dtype(plan.label_dtype).type(plan.nodata), block.box.shape)
        why = "outside" if block.name in outside else "empty"
        notes[block.name] = {"tiles": tiles, "skipped": tiles, "idle": why, "crc32": crc32(labels)}
    store.note_idle(shared, {block: notes[block.name] for block in idle.blocks})
    return {name: cast(Receipt, {**shared, **note}) for name, note in notes.items()}


def idle_line(receipts: Iterable[Receipt], total: int) -> str:
    """A sentence about blocks that were not read; empty where there is none."""
    counts = Counter(receipt.get("idle", "") for receipt in receipts)
    ends = {"outside": "lie outside the area", "empty": "are empty by the file's index"}
    told = [f"{counts[why]} {words}" for why, words in ends.items() if counts[why]]
    return f"{' and '.join(told)}, of {total} blocks: they are not read" if told else ""
