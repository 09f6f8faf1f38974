"""The passes of a step over blocks: survey, (votes,) rewrite. Each takes one block, in any process.

The components of a block are found anew in every pass instead of being kept: that is cheap and always
gives the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from seg_batch.config.postprocess import CrfStep, MajorityStep, ThresholdStep
from seg_batch.core.geometry import Block, Box, Shape
from seg_batch.inference.postprocess import crf
from seg_batch.inference.postprocess.component_merge import (
    ComponentSurvey,
    LocalComponents,
    local_components,
    survey_components,
)
from seg_batch.inference.postprocess.label_context import LabelContext
from seg_batch.inference.postprocess.majority import majority
from seg_batch.inference.postprocess.neighbour_vote import elect, votes
from seg_batch.inference.postprocess.object_rules import KEEP, VOTE, Largest, ObjectRule
from seg_batch.inference.postprocess.threshold import threshold


class LabelStore(Protocol):
    """The map that a step reads, and the one that it writes; it is pickled and sent to the workers.

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
    """What a block reports when it is written: voxels with another label than before, and objects
    that got another label and touch no other block."""

    changed: int
    objects: int = 0


@dataclass(frozen=True)
class LocalPass:
    """The one pass of a step that needs no more than a block and its halo."""

    store: LabelStore
    step: ThresholdStep | MajorityStep | CrfStep
    context: LabelContext
    threads: int = 1

    @property
    def halo(self) -> int:
        if isinstance(self.step, CrfStep):
            return crf.halo(self.step)
        return self.step.side // 2 if isinstance(self.step, MajorityStep) else 0

    def __call__(self, block: Block) -> Rewritten:
        extent = self.store.extent
        held = block.box.grown((self.halo,) * len(extent)).intersection(Box.whole(extent))
        before = self.store.labels(held)
        core = block.box.shift(tuple(-a for a in held.start))
        inside = core.slices()
        after = self._labels(before, held, core)[inside]
        self.store.write(block, after)
        return Rewritten(int((after != before[inside]).sum()))

    def _labels(self, labels: np.ndarray, held: Box, core: Box) -> np.ndarray:
        """The new labels of the box ``held``, right in its part ``core``."""
        step, context, spacing = self.step, self.context, self.store.spacing
        if isinstance(step, MajorityStep):
            return majority(labels, step.side, context.nodata)
        probabilities = self.store.probabilities(held)
        if isinstance(step, ThresholdStep):
            return threshold(labels, probabilities, step, context)
        # Voxels without data do not change and send no messages (see ``crf``).
        known = (labels != context.nodata) & probabilities.any(0)
        image, valid = self.store.image(held)
        valid = known if valid is None else known & valid
        field = probabilities, image, valid, step
        index = crf.refine(*field, core=core, spacing=spacing, threads=self.threads)
        ids, inside, refined = np.array([*context.ids.values()]), core.slices(), labels.copy()
        refined[inside] = np.where(valid[inside], ids[index], labels[inside])
        return refined


@dataclass(frozen=True)
class FaceLabels:
    """A block and what the coordinator decided for the components on its faces: which of them are
    ``removed`` and wait for votes, and (in the last pass) the ``new`` label of each."""

    block: Block
    removed: np.ndarray
    new: np.ndarray


@dataclass(frozen=True)
class ObjectPasses:
    """The passes of a step on objects: ``survey`` of every block; ``votes`` of those with removed
    components on their faces, only where neighbours vote; ``rewrite`` of every block."""

    store: LabelStore
    rule: ObjectRule
    nodata: int

    def survey(self, block: Block) -> ComponentSurvey:
        """What the coordinator has to know of a block's components."""
        part = self._local(block)
        best = None
        if isinstance(self.rule, Largest):
            best = self.rule.best(part.facts.take(_interior(part)))
        return survey_components(part, self.store.extent, best)

    def votes(self, faces: FaceLabels) -> tuple[Block, np.ndarray]:
        """The votes on the components that touch other blocks, numbered as on the faces."""
        part, new = self._decided(faces)
        ballots = votes(part, new == VOTE, self.nodata)
        ballots = ballots[:, np.isin(ballots[0], part.on_face)]
        ballots[0] = np.searchsorted(part.on_face, ballots[0])
        return faces.block, ballots

    def rewrite(self, faces: FaceLabels) -> Rewritten:
        """Write the block, each component with the label that was decided for it."""
        part, new = self._decided(faces)
        ids, own = part.components.ids, part.facts.label.astype(np.int32)
        label = np.where(new == KEEP, own, new)
        if (new == VOTE).any():
            chosen = elect(votes(part, new == VOTE, self.nodata), own)
            label = np.where(new == VOTE, chosen, label)
        label[part.on_face] = np.where(faces.new == KEEP, own[part.on_face], faces.new)
        other = label != own
        there = other[ids]
        after = part.labels.copy()
        after[there] = label[ids[there]]
        self.store.write(faces.block, after)
        voxels = int(part.components.sizes[other].sum())
        return Rewritten(voxels, int(other[_interior(part)].sum()))

    def _decided(self, faces: FaceLabels) -> tuple[LocalComponents, np.ndarray]:
        """The components of the block with what becomes of each, on the faces by the coordinator."""
        part = self._local(faces.block)
        new = self.rule(part.facts)
        new[part.on_face] = np.where(faces.removed, VOTE, faces.new)
        return part, new

    def _local(self, block: Block) -> LocalComponents:
        rule, extent = self.rule, self.store.extent
        reach = (int(rule.around is not None),) * len(extent)
        held = block.box.grown(reach).intersection(Box.whole(extent))
        window = self.store.labels(held)
        return local_components(
            *(window, held, block, extent),
            only=rule.only,
            rest=rule.rest,
            around=rule.around,
            areas=rule.areas,
        )


def _interior(part: LocalComponents) -> np.ndarray:
    """The numbers of the components that touch no other block."""
    inside = np.ones(len(part.facts), bool)
    inside[part.on_face] = False
    return np.flatnonzero(inside)
