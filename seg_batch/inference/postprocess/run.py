"""A step of the chain over all blocks of a map, in whichever processes the blocks are done.

::

    threshold, majority, crf          every block with its halo -> rewritten
    min_size, largest, fill_holes     every block: surveyed -> joined in the coordinator
                                      (no background: every block: votes -> counted there)
                                      every block: rewritten

The result equals that of the same step on the whole array, for any blocks in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from seg_batch.config.postprocess import AnyStep, CrfStep, MajorityStep, ThresholdStep
from seg_batch.core.geometry import Blocks
from seg_batch.inference.postprocess.block_passes import (
    FaceLabels,
    LabelStore,
    LocalPass,
    ObjectPasses,
)
from seg_batch.inference.postprocess.component_merge import ComponentFacts, Merged, Merger
from seg_batch.inference.postprocess.label_context import LabelContext
from seg_batch.inference.postprocess.neighbour_vote import elect, votes_across_faces
from seg_batch.inference.postprocess.object_rules import KEEP, VOTE, Largest, rule_of

# ``each(function, items)``: the results, in any order; raises when one can't be had.
Each = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]


@dataclass(frozen=True)
class StepChange:
    """The changes of a step: voxels with another label than before; objects with another label (None:
    the step is not one on objects)."""

    voxels: int
    objects: int | None = None


def run_step(
    step: AnyStep,
    store: LabelStore,
    context: LabelContext,
    blocks: Blocks,
    each: Each,
    threads: int = 1,
) -> StepChange:
    """Do ``step`` on the whole map of ``store``; every block is written once."""
    if isinstance(step, ThresholdStep | MajorityStep | CrfStep):
        work = LocalPass(store, step, context, threads)
        return StepChange(sum(done.changed for done in each(work, blocks)))
    passes = ObjectPasses(store, rule_of(step, context), context.nodata)
    merger = Merger(contacts=context.background is None)
    inside: list[ComponentFacts] = []
    for survey in each(passes.survey, blocks):
        merger.add(survey)
        if survey.interior is not None:
            inside.append(survey.interior)
    merged = merger.merged()
    if isinstance(rule := passes.rule, Largest):
        best = rule.best(ComponentFacts.joined([*inside, merged.facts]))
        passes = replace(passes, rule=rule.decided(best))
    new = passes.rule(merged.facts)
    removed = new == VOTE
    if removed.any():
        new = _voted(merged, new, passes, blocks, each)
    objects = int(((new != KEEP) & (new != merged.facts.label)).sum())
    done = list(each(passes.rewrite, _on_faces(merged, removed, new, blocks)))
    return StepChange(sum(d.changed for d in done), objects + sum(d.objects for d in done))


def _voted(
    merged: Merged, new: np.ndarray, passes: ObjectPasses, blocks: Blocks, each: Each
) -> np.ndarray:
    """``new`` with the label that was voted for in the place of ``VOTE``."""
    removed = new == VOTE
    ballots = [votes_across_faces(merged, removed, passes.nodata)]
    voting = (faces for faces in _on_faces(merged, removed, new, blocks) if faces.removed.any())
    for block, (number, *votes) in each(passes.votes, voting):
        ballots.append(np.stack([merged.of(block)[number], *votes]))
    chosen = elect(np.concatenate(ballots, 1), merged.facts.label)
    return np.where(removed, chosen, new).astype(np.int32)


def _on_faces(
    merged: Merged, removed: np.ndarray, new: np.ndarray, blocks: Blocks
) -> Iterator[FaceLabels]:
    for block in blocks:
        roots = merged.of(block)
        yield FaceLabels(block, removed[roots], new[roots])
