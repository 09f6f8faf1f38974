"""What becomes of an object, decided from its facts alone: small ones, all but the largest, holes.

A verdict gives each component its new label: ``KEEP`` (as it is), ``VOTE`` (see ``neighbour_vote``) or a label.
It is a frozen value, so that every block and the coordinator decide alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from seg_batch.config.postprocess import FillHolesStep, LargestStep, MinSizeStep
from seg_batch.inference.postprocess.component_merge import ComponentFacts
from seg_batch.inference.postprocess.label_context import LabelContext

KEEP, VOTE = -1, -2


class ObjectRule(Protocol):
    """``only``: the labels whose components it may change; all others may be taken for one label,
    ``rest`` (None: every label matters). ``around``: the label of which it wants to know what its
    components border on (None: of none)."""

    @property
    def only(self) -> tuple[int, ...] | None: ...

    @property
    def rest(self) -> int: ...

    @property
    def around(self) -> int | None: ...

    def __call__(self, facts: ComponentFacts) -> np.ndarray:
        """int32, one per component: ``KEEP``, ``VOTE`` or a label."""
        ...


@dataclass(frozen=True)
class Small:
    """Objects of fewer voxels than ``least`` says for their label become ``rest``: the background, or
    what their neighbours vote for where there is none. The background itself has no objects."""

    least: tuple[tuple[int, int], ...]
    rest: int
    around = None

    @property
    def only(self) -> tuple[int, ...] | None:
        """Where neighbours vote, theirs matter too."""
        return None if self.rest == VOTE else tuple(label for label, _ in self.least)

    @classmethod
    def of(cls, step: MinSizeStep, setting: LabelContext) -> Small:
        sizes = dict.fromkeys(setting.labels(()), step.size) if step.size else {}
        sizes |= {setting.ids[name]: size for name, size in step.classes.items()}
        least = tuple((label, setting.voxels(size)) for label, size in sizes.items() if size)
        return cls(least, _instead(setting))

    def __call__(self, facts: ComponentFacts) -> np.ndarray:
        new = np.full(len(facts), KEEP, np.int32)
        for label, least in self.least:
            new[(facts.label == label) & (facts.size < least)] = self.rest
        return new


@dataclass(frozen=True)
class Largest:
    """Of each of ``labels`` one object stays: that of most voxels, of equals the one whose first
    voxel (C order of the file's axes) comes first; the others become ``rest``. ``stays``: its first
    voxel, once it is known."""

    labels: tuple[int, ...]
    rest: int
    stays: tuple[tuple[int, int], ...] = ()
    around = None

    @property
    def only(self) -> tuple[int, ...] | None:
        return None if self.rest == VOTE else self.labels

    @classmethod
    def of(cls, step: LargestStep, setting: LabelContext) -> Largest:
        return cls(setting.labels(step.classes), _instead(setting))

    def best(self, facts: ComponentFacts) -> ComponentFacts:
        """The largest of each label among these components."""
        order = np.lexsort((facts.first, -facts.size))
        wanted = order[np.isin(facts.label[order], self.labels)]
        _, place = np.unique(facts.label[wanted], return_index=True)
        return facts.take(wanted[place])

    def decided(self, best: ComponentFacts) -> Largest:
        stays = tuple(zip(best.label.tolist(), best.first.tolist(), strict=True))
        return Largest(self.labels, self.rest, stays)

    def __call__(self, facts: ComponentFacts) -> np.ndarray:
        new = np.full(len(facts), KEEP, np.int32)
        for label, first in self.stays:
            new[(facts.label == label) & (facts.first != first)] = self.rest
        return new


@dataclass(frozen=True)
class Holes:
    """Components of background that border on one of ``labels`` and on nothing else (no other
    class, no voxel without data, not the border of the extent) become that label."""

    labels: tuple[int, ...]
    background: int
    rest: int

    @property
    def only(self) -> tuple[int, ...]:
        return (self.background,)

    @property
    def around(self) -> int:
        return self.background

    @classmethod
    def of(cls, step: FillHolesStep, setting: LabelContext) -> Holes:
        assert setting.background is not None  # chain.check saw to it
        return cls(setting.labels(step.classes), setting.background, setting.nodata)

    def __call__(self, facts: ComponentFacts) -> np.ndarray:
        hole = (facts.label == self.background) & (facts.low == facts.high)
        return np.where(hole & np.isin(facts.low, self.labels), facts.low, KEEP).astype(np.int32)


def _instead(setting: LabelContext) -> int:
    return VOTE if setting.background is None else setting.background
