"""The passes of a step over blocks: look, (vote,) rewrite. Each takes one block at a time, anywhere.

A block is looked at again in every pass rather than kept: its components are found anew, which is
cheap and always the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from seg_batch.config.postprocess import CrfStep, MajorityStep, ThresholdStep
from seg_batch.core.geometry import Block, Box, Shape
from seg_batch.inference.postprocess import crf
from seg_batch.inference.postprocess.component_merge import (
    ComponentFacts,
    ComponentSurvey,
    Local,
    local,
    survey_components,
)
from seg_batch.inference.postprocess.label_context import LabelContext
from seg_batch.inference.postprocess.majority import majority
from seg_batch.inference.postprocess.neighbour_vote import elected, votes
from seg_batch.inference.postprocess.object_rules import KEEP, VOTE, Largest, ObjectRule
from seg_batch.inference.postprocess.threshold import threshold


class LabelStore(Protocol):
    """The map that a step reads, and the one that it writes; it travels to wherever a block is done.

    Boxes and arrays are in the file's own axes. ``image``: normalised float32 ``(*shape, channels)`` and
    where it is valid (None: everywhere). ``spacing``: sides of a voxel, in any one unit.
    """

    @property
    def extent(self) -> Shape: ...

    @property
    def spacing(self) -> tuple[float, ...]: ...

    def labels(self, box: Box) -> np.ndarray: ...

    def probabilities(self, box: Box) -> np.ndarray: ...

    def image(self, box: Box) -> tuple[np.ndarray, np.ndarray | None]: ...

    def write(self, block: Block, labels: np.ndarray) -> None: ...


@dataclass(frozen=True)
class Rewritten:
    """What one block tells when it is written: voxels with another label than before, and objects
    that got another label and touch no other block."""

    changed: int
    objects: int = 0


@dataclass(frozen=True)
class LocalPass:
    """A step that needs no more than the surroundings of a block: one pass."""

    board: LabelStore
    step: ThresholdStep | MajorityStep | CrfStep
    setting: LabelContext
    threads: int = 1

    @property
    def halo(self) -> int:
        if isinstance(self.step, CrfStep):
            return crf.halo(self.step)
        return self.step.side // 2 if isinstance(self.step, MajorityStep) else 0

    def __call__(self, block: Block) -> Rewritten:
        extent = self.board.extent
        held = block.box.grown((self.halo,) * len(extent)).intersection(Box.whole(extent))
        before = self.board.labels(held)
        core = block.box.shift(tuple(-a for a in held.start))
        inside = core.slices()
        after = self._labels(before, held, core)[inside]
        self.board.write(block, after)
        return Rewritten(int((after != before[inside]).sum()))

    def _labels(self, labels: np.ndarray, held: Box, core: Box) -> np.ndarray:
        """Of what is held; right in the core, which lies there."""
        if isinstance(self.step, MajorityStep):
            return majority(labels, self.step.side, self.setting.nodata)
        probabilities = self.board.probabilities(held)
        if isinstance(self.step, ThresholdStep):
            return threshold(labels, probabilities, self.step, self.setting)
        return self._refined(labels, probabilities, held, core, self.step)

    def _refined(
        self, labels: np.ndarray, probabilities: np.ndarray, held: Box, core: Box, step: CrfStep
    ) -> np.ndarray:
        """Voxels without data neither change nor speak; see ``crf``."""
        known = (labels != self.setting.nodata) & probabilities.any(0)
        image, valid = self.board.image(held)
        valid = known if valid is None else known & valid
        index = crf.refine(
            *(probabilities, image, valid, step),
            core=core,
            spacing=self.board.spacing,
            threads=self.threads,
        )
        ids, inside, refined = np.array([*self.setting.ids.values()]), core.slices(), labels.copy()
        refined[inside] = np.where(valid[inside], ids[index], labels[inside])
        return refined


@dataclass(frozen=True)
class BlockContext:
    """The first pass of a step on objects: what is to be known of a block's components."""

    board: LabelStore
    verdict: ObjectRule

    def __call__(self, block: Block) -> ComponentSurvey:
        one = self.local(block)
        best = None
        if isinstance(self.verdict, Largest):
            best = self.verdict.best(one.facts.take(_interior(one)))
        return survey_components(one, self.board.extent, best)

    def local(self, block: Block) -> Local:
        verdict, extent = self.verdict, self.board.extent
        reach = (int(verdict.around is not None),) * len(extent)
        held = block.box.grown(reach).intersection(Box.whole(extent))
        window = self.board.labels(held)
        only, rest = verdict.only, verdict.rest
        return local(window, held, block, extent, only=only, rest=rest, around=verdict.around)


def _interior(one: Local) -> np.ndarray:
    """The numbers of the components that touch no other block."""
    inside = np.ones(len(one.facts), bool)
    inside[one.on_face] = False
    return np.flatnonzero(inside)


@dataclass(frozen=True)
class PassResult:
    """A block and what the coordinator says of the components on its faces: those of them that
    are removed and wait for votes, and (in the last pass) the label that each gets."""

    block: Block
    removed: np.ndarray
    new: np.ndarray


@dataclass(frozen=True)
class Vote:
    """The second pass, only where objects vote: the votes on components that touch other blocks."""

    look: BlockContext
    nodata: int

    def __call__(self, told: PassResult) -> tuple[Block, np.ndarray]:
        one = self.look.local(told.block)
        new = _all_new(one, self.look.verdict, told)
        ballots = votes(one, new == VOTE, self.nodata)
        ballots = ballots[:, np.isin(ballots[0], one.on_face)]
        ballots[0] = np.searchsorted(one.on_face, ballots[0])
        return told.block, ballots


def _all_new(one: Local, verdict: ObjectRule, told: PassResult) -> np.ndarray:
    """The verdict on every component of the block; on its faces the coordinator's word."""
    new = verdict(one.facts)
    new[one.on_face] = np.where(told.removed, VOTE, told.new)
    return new


@dataclass(frozen=True)
class Rewrite:
    """The last pass: every component gets the label that was decided for it."""

    look: BlockContext
    nodata: int

    def __call__(self, told: PassResult) -> Rewritten:
        one = self.look.local(told.block)
        new = _all_new(one, self.look.verdict, told)
        own = one.facts.label.astype(np.int32)
        label = np.where(new == KEEP, own, new)
        if (new == VOTE).any():
            label = self._elected(one, new, label, own)
        label[one.on_face] = np.where(told.new == KEEP, own[one.on_face], told.new)
        other = label != own
        there = other[one.found.ids]
        after = one.labels.copy()
        after[there] = label[one.found.ids[there]]
        self.look.board.write(told.block, after)
        inside = other[_interior(one)]
        return Rewritten(int(one.found.sizes[other].sum()), int(inside.sum()))

    def _elected(
        self, one: Local, new: np.ndarray, label: np.ndarray, own: np.ndarray
    ) -> np.ndarray:
        chosen = elected(votes(one, new == VOTE, self.nodata), own)
        return np.where(new == VOTE, chosen, label)


def relabelled(before: ComponentFacts, new: np.ndarray) -> int:
    """How many components get another label."""
    return int(((new != KEEP) & (new != before.label)).sum())
