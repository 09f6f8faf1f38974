"""The dataset fingerprint that a recipe is derived from: plain numbers, measured once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from statistics import median

from seg_batch.core.units import counted_plainly
from seg_batch.training.autoconfig.grid import ChosenGrid, Header, choose_grid

type Shape = tuple[int, ...]


@dataclass(frozen=True)
class CaseFacts:
    """One case, axes in the order ``(z,) y, x`` of RAS.

    ``extent``: on the grid of the model. ``spacing``: of the file, voxel size per axis, mm for volumes and
    metres for rasters, or None if it has none. ``voxels``: labelled voxels per label value. ``low``, ``high``, ``mean``: of a sample from
    the middle of the image, physical units.
    """

    case: str
    extent: Shape
    spacing: tuple[float, ...] | None
    voxels: Mapping[int, int]
    low: float
    high: float
    mean: float


@dataclass(frozen=True)
class StripStats:
    """Voxels per label value in equal strips across the longest axis, over all cases together.

    Strip ``k`` covers ``edges[k] <= v < edges[k + 1]`` of ``axis``; the last one is open-ended.
    ``reach``: the largest extent of all cases, per axis.
    """

    axis: int
    edges: tuple[int, ...]
    voxels: tuple[Mapping[int, int], ...]
    reach: Shape


@dataclass(frozen=True)
class DatasetFacts:
    """All cases of a set, sorted by name, and the machine that will train on them.

    ``whole``: images hold whole numbers. ``strips``: measured if there are too few cases to hold
    out whole ones, in voxels of the model. ``split_given``: a manifest, or the recipe, holds cases or boxes
    out. ``free``: of the cases that validation may be chosen from, where a test part alone is given. ``gpus``: 0 for
    training on CPUs. ``modality``: what the user says of it. ``grid``: of the model, to which the extents belong.
    """

    kind: str
    channels: tuple[str, ...]
    dtype: str
    whole: bool
    cases: tuple[CaseFacts, ...]
    memory_bytes: int
    cores: int
    gpus: int = 0
    strips: StripStats | None = None
    split_given: bool = False
    free: tuple[str, ...] = ()
    name: str = "my-model"
    modality: str | None = None
    grid: ChosenGrid | None = None

    @property
    def voxels(self) -> dict[int, int]:
        """Labelled voxels per label value over all cases, sorted by value."""
        return dict(sorted(total(case.voxels for case in self.cases).items()))

    @property
    def extent(self) -> Shape:
        """The median extent, axis by axis."""
        return tuple(
            int(median(side)) for side in zip(*(c.extent for c in self.cases), strict=True)
        )

    @property
    def largest(self) -> Shape:
        """The largest extent, axis by axis."""
        return tuple(map(max, zip(*(c.extent for c in self.cases), strict=True)))

    @property
    def count(self) -> str:
        return counted_plainly(len(self.cases), "case")

    @cached_property
    def chosen(self) -> ChosenGrid:
        """The grid of the model, chosen from the cases where it was not before."""
        headers = [Header(c.case, c.extent, c.spacing) for c in self.cases]
        return self.grid or choose_grid(self.kind, headers)

    @property
    def spacing(self) -> tuple[float, ...] | None:
        """Of the model, axis by axis; None if no case has any."""
        return self.chosen.spacing

    @property
    def size(self) -> int:
        """Voxels of all images together."""
        return sum(prod(case.extent) for case in self.cases)


def total(parts: Iterable[Mapping[int, int]]) -> Counter[int]:
    """Voxels per label value in all parts together."""
    counts: Counter[int] = Counter()
    for voxels in parts:
        counts.update(voxels)
    return counts
