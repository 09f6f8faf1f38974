"""The dataset fingerprint that a recipe is derived from: plain numbers, measured once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from statistics import median
from typing import Any

from seg_batch.core.units import counted_plainly

type Shape = tuple[int, ...]


@dataclass(frozen=True)
class CaseFacts:
    """One case, axes in the order ``(z,) y, x`` of RAS.

    ``spacing``: voxel size per axis, mm for volumes and metres for rasters, or None if the file has
    none. ``voxels``: labelled voxels per label value. ``low``, ``high``, ``mean``: of a sample from
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
    out whole ones. ``split_given``: a manifest, or the recipe, holds cases or boxes out. ``free``: of the
    cases that validation may be chosen from, where a test part alone is given. ``gpus``: 0 for training
    on CPUs. ``modality``: what the user says of it.
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

    @property
    def spacing(self) -> tuple[float, ...] | None:
        """The median spacing of the cases that have one, axis by axis; None if none has."""
        known = [c.spacing for c in self.cases if c.spacing]
        if not known:
            return None
        return tuple(round(median(side), 6) for side in zip(*known, strict=True))

    @property
    def size(self) -> int:
        """Voxels of all images together."""
        return sum(prod(case.extent) for case in self.cases)


@dataclass(frozen=True)
class Reason:
    """A setting and the reason for its value. ``key`` is dotted, as for ``--set``. A ``warning`` sets
    nothing, it names the setting that it is about. ``shown``: a long value in words."""

    key: str
    value: Any
    why: str
    warning: bool = field(default=False, kw_only=True)
    shown: str = field(default="", kw_only=True)

    def __str__(self) -> str:
        """``fit.patch = 128 x 128: ...`` on one line."""
        if self.warning:
            return f"{self.key}: warning: {self.why}"
        return f"{self.key} = {self.shown or show(self.value)}: {self.why}"


def total(parts: Iterable[Mapping[int, int]]) -> Counter[int]:
    """Voxels per label value in all parts together."""
    counts: Counter[int] = Counter()
    for voxels in parts:
        counts.update(voxels)
    return counts


def show(value: Any) -> str:
    """A setting's value in few words."""
    if isinstance(value, dict):
        if "name" in value:
            rest = {k: v for k, v in value.items() if k not in ("name", "colour")}
            return f"{value['name']} ({show(rest)})" if rest else str(value["name"])
        return ", ".join(f"{k} {show(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        joint = " + " if value and isinstance(value[0], dict) else " x "
        return joint.join(map(show, value)) if value else "none"
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value)
