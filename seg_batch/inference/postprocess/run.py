"""A step of the chain over all blocks of a map, wherever the blocks are done.

::

    threshold, majority, crf          every block with its halo -> rewritten
    min_size, largest, fill_holes     every block: look -> joined in the coordinator
                                      (no background: every block: votes -> counted there)
                                      every block: rewritten

Equal to the same step on the whole array, whatever the blocks and the order they end in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np

from seg_batch.config.postprocess import (
    AnyStep,
    CrfStep,
    FillHolesStep,
    LargestStep,
    MajorityStep,
    MinSizeStep,
    ThresholdStep,
)
from seg_batch.core.geometry import Blocks
from seg_batch.inference.postprocess.block_passes import (
    BlockContext,
    LabelStore,
    LocalPass,
    PassResult,
    Rewrite,
    Vote,
    relabelled,
)
from seg_batch.inference.postprocess.component_merge import ComponentFacts, Merged, Merger
from seg_batch.inference.postprocess.label_context import LabelContext
from seg_batch.inference.postprocess.neighbour_vote import across, elected
from seg_batch.inference.postprocess.object_rules import VOTE, Holes, Largest, ObjectRule, Small

# ``each(function, items)``: the results, in any order; raises when one can't be had.
Each = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]


@dataclass(frozen=True)
class StepChange:
    """What a step did: voxels with another label than before; objects with another label (None:
    the step knows no objects)."""

    voxels: int
    objects: int | None = None


class PostStepRow(TypedDict):
    """A step after prediction: its JSON, what it is in words, and what it changed."""

    step: dict[str, Any]
    words: str
    voxels_changed: int
    objects_changed: int | None
    seconds: float


def one_by_one(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """``Each`` in this very thread."""
    return map(function, items)


def run_step(
    step: AnyStep,
    board: LabelStore,
    setting: LabelContext,
    blocks: Blocks,
    each: Each,
    threads: int = 1,
) -> StepChange:
    """Do ``step`` on the whole map of ``board``; every block is written once."""
    if isinstance(step, ThresholdStep | MajorityStep | CrfStep):
        work = LocalPass(board, step, setting, threads)
        return StepChange(sum(done.changed for done in each(work, blocks)))
    return _on_objects(_verdict(step, setting), board, setting, blocks, each)


def _verdict(step: MinSizeStep | LargestStep | FillHolesStep, setting: LabelContext) -> Any:
    if isinstance(step, MinSizeStep):
        return Small.of(step, setting)
    if isinstance(step, LargestStep):
        return Largest.of(step, setting)
    return Holes.of(step, setting)


def _on_objects(
    verdict: ObjectRule, board: LabelStore, setting: LabelContext, blocks: Blocks, each: Each
) -> StepChange:
    merger = Merger(blocks, contacts=setting.background is None)
    inside: list[ComponentFacts] = []
    for found in each(BlockContext(board, verdict), blocks):
        merger.add(found)
        if found.interior is not None:
            inside.append(found.interior)
    merged = merger.merged()
    if isinstance(verdict, Largest):
        verdict = verdict.decided(verdict.best(ComponentFacts.joined([*inside, merged.facts])))
    look = BlockContext(board, verdict)
    new = verdict(merged.facts)
    removed = new == VOTE
    if removed.any():
        new = _voted(merged, new, look, setting, blocks, each)
    voxels, objects = 0, relabelled(merged.facts, new)
    for done in each(Rewrite(look, setting.nodata), _told(merged, removed, new, blocks)):
        voxels, objects = voxels + done.changed, objects + done.objects
    return StepChange(voxels, objects)


def _voted(
    merged: Merged,
    new: np.ndarray,
    look: BlockContext,
    setting: LabelContext,
    blocks: Blocks,
    each: Each,
) -> np.ndarray:
    """``new`` with the label that was voted for in the place of ``VOTE``."""
    removed = new == VOTE
    ballots = [across(merged, removed, setting.nodata)]
    told = (t for t in _told(merged, removed, new, blocks) if t.removed.any())
    for block, found in each(Vote(look, setting.nodata), told):
        part = found.copy()
        part[0] = merged.of(block)[found[0]]
        ballots.append(part)
    chosen = elected(np.concatenate(ballots, 1), merged.facts.label)
    return np.where(removed, chosen, new).astype(np.int32)


def _told(
    merged: Merged, removed: np.ndarray, new: np.ndarray, blocks: Blocks
) -> Iterator[PassResult]:
    for block in blocks:
        roots = merged.of(block)
        yield PassResult(block, removed[roots], new[roots])
