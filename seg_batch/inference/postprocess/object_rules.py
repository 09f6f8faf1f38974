"""The new label of an object, decided from its facts alone: small objects, all but the largest, holes.

A rule gives each component its new label: ``KEEP`` (as it is), ``VOTE`` (see ``neighbour_vote``) or a label.
It is a frozen value, so that every block and the coordinator decide alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from seg_batch.config.postprocess import FillHolesStep, LargestStep, MinSizeStep
from seg_batch.inference.postprocess.component_merge import ComponentFacts
from seg_batch.inference.postprocess.label_context import LabelContext, LeastSize
from seg_batch.io.sources.areas.pixel_areas import PixelAreas

KEEP, VOTE = -1, -2


@dataclass(frozen=True, kw_only=True)
class ObjectRule:
    """``only``: the labels whose components the rule may change; all others may be taken for one label,
    ``rest`` (None: every label matters). ``around``: the label of whose components the rule reads what
    they border on (None: of none). ``areas``: where it reads them."""

    only: tuple[int, ...] | None
    rest: int
    around: int | None = None
    areas: PixelAreas | None = None

    def __call__(self, facts: ComponentFacts) -> np.ndarray:
        """int32, one per component: ``KEEP``, ``VOTE`` or a label."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Small(ObjectRule):
    """Objects of fewer voxels, or less area, than ``least`` says for their label become ``rest``: the
    background, or what their neighbours vote for where there is none. The background itself has no objects."""

    least: tuple[tuple[int, LeastSize], ...]

    def __call__(self, facts: ComponentFacts) -> np.ndarray:
        new = np.full(len(facts), KEEP, np.int32)
        for label, least in self.least:
            small = (facts.size < least.voxels) | (facts.area < least.units)
            new[(facts.label == label) & small] = self.rest
        return new


@dataclass(frozen=True, kw_only=True)
class Largest(ObjectRule):
    """Of each of ``labels`` one object stays: that of most voxels, of equals the one whose first
    voxel (C order of the file's axes) comes first; the others become ``rest``. ``stays``: its first
    voxel, once it is known."""

    labels: tuple[int, ...]
    stays: tuple[tuple[int, int], ...] = ()

    def best(self, facts: ComponentFacts) -> ComponentFacts:
        """The largest of each label among these components."""
        order = np.lexsort((facts.first, -facts.size))
        wanted = order[np.isin(facts.label[order], self.labels)]
        _, place = np.unique(facts.label[wanted], return_index=True)
        return facts.take(wanted[place])

    def decided(self, best: ComponentFacts) -> Largest:
        stays = tuple(zip(best.label.tolist(), best.first.tolist(), strict=True))
        return replace(self, stays=stays)

    def __call__(self, facts: ComponentFacts) -> np.ndarray:
        new = np.full(len(facts), KEEP, np.int32)
        for label, first in self.stays:
            new[(facts.label == label) & (facts.first != first)] = self.rest
        return new


@dataclass(frozen=True, kw_only=True)
class Holes(ObjectRule):
    """Components of background (``around``) that border on one of ``labels`` and on nothing else (no
    other class, no voxel without data, not the border of the extent) become that label."""

    labels: tuple[int, ...]

    def __call__(self, facts: ComponentFacts) -> np.ndarray:
        hole = (facts.label == self.around) & (facts.low == facts.high)
        return np.where(hole & np.isin(facts.low, self.labels), facts.low, KEEP).astype(np.int32)


def rule_of(step: MinSizeStep | LargestStep | FillHolesStep, context: LabelContext) -> ObjectRule:
    """The rule of a step. Where neighbours vote, the components of every label matter."""
    background = context.background
    if isinstance(step, FillHolesStep):
        assert background is not None  # ``check_chain`` refused the step otherwise
        labels, nodata = context.labels(step.classes), context.nodata
        return Holes(labels=labels, only=(background,), rest=nodata, around=background)
    rest = VOTE if background is None else background
    if isinstance(step, LargestStep):
        labels = context.labels(step.classes)
        return Largest(labels=labels, only=None if rest == VOTE else labels, rest=rest)
    sizes = dict.fromkeys(context.labels(()), step.size) if step.size else {}
    sizes |= {context.ids[name]: size for name, size in step.classes.items()}
    least = tuple((label, context.least(size)) for label, size in sizes.items() if size)
    only = None if rest == VOTE else tuple(label for label, _ in least)
    areas = context.areas if any(size.units for _, size in least) else None
    return Small(least=least, only=only, rest=rest, areas=areas)
