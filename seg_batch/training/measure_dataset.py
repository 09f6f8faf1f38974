"""The dataset's facts that a recipe is advised from: headers, one streaming pass over the labels, and
the values in the middle of each image."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from seg_batch.config.card_parts.channels import Channel
from seg_batch.config.card_parts.resampling import known_resampling
from seg_batch.config.recipe.manifest import Manifest
from seg_batch.config.recipe.vector_labels import BY_THEMSELVES, as_far_as_known
from seg_batch.core import hardware
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.core.georef import RasterGeoref
from seg_batch.core.normalise import Pixels
from seg_batch.datasets.pairs import Pair, find_pairs, open_pair
from seg_batch.io.sources.areas.pixel_size import pixel_sides_m
from seg_batch.io.sources.iterate import piece_boxes
from seg_batch.io.sources.protocol import AlphaOption, SourceInfo
from seg_batch.io.sources.views.channels.alpha import require_settled
from seg_batch.io.sources.views.open_view import Axes, View
from seg_batch.io.vectors.labels import LabelRules
from seg_batch.training.autoconfig import (
    FEW_CASES,
    STRIPS,
    CaseFacts,
    DatasetFacts,
    Reason,
    StripStats,
    propose_recipe,
)
from seg_batch.training.autoconfig.grid import NOT_GIVEN, ChosenGrid, GivenGrid, Header, choose_grid

SAMPLE_VOXELS = 1 << 20
TRUE_PLANE = 0.01  # a plane is true where its metres are, to this share
MOST_VALUES = 256  # more distinct values than this are numbered objects or measurements


def advise_recipe(
    given: list[str],
    align: str | None = None,
    alpha: AlphaOption = "auto",
    own: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], tuple[Reason, ...]]:
    """The advised recipe, as plain values, for the data arguments of ``train`` or ``patches``, and its
    reasons. Classes, channels and ignored values that a manifest names are taken from it. ``own``: the user's
    settings, whose ignored values are no classes, and whose held-out parts leave nothing to be held out."""
    pairs, own = find_pairs(given, alpha), own or {}
    pairs = pairs.drawn_by(_rules(pairs.manifests.values(), own))
    ignore = {value for manifest in pairs.manifests.values() for value in manifest.ignore}
    ignore |= _values(own.get("cut"), "ignore")
    channels = next((m.channels for m in pairs.manifests.values() if m.channels is not None), None)
    held = {name for name in ("validation", "test", "folds") if _part(own, "hold_out").get(name)}
    facts = measure_dataset(
        pairs.pairs,
        align=align,
        ignore=ignore,
        channels=channels,
        held_out=held,
        own_grid=_given(own),
    )
    modality = _part(own, "card").get("modality")
    plain, reasons = propose_recipe(replace(facts, modality=modality))
    named: dict[str, Any] = {}
    for manifest in pairs.manifests.values():
        if manifest.channels is not None:
            named["channels"] = list(manifest.channels)
        if manifest.classes is not None:
            named["classes"] = [c.model_dump(mode="json") for c in manifest.classes]
    plain["card"].update(named)
    return plain, tuple(r for r in reasons if r.key.removeprefix("card.") not in named)


def _rules(manifests: Collection[Manifest], own: Mapping[str, Any]) -> LabelRules:
    """How vector labels are drawn, before there is a recipe."""
    settings = as_far_as_known(_part(own, "vector_labels"))
    said = [m.vector_labels for m in manifests if m.vector_labels != BY_THEMSELVES]
    classes = next((m.classes for m in manifests if m.classes is not None), None)
    return LabelRules.of(said[0] if said and settings == BY_THEMSELVES else settings, classes)


def _part(plain: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = plain.get(name)
    return part if isinstance(part, Mapping) else {}


def _values(plain: Any, name: str) -> set[int]:
    """The whole numbers of a setting that is not checked yet."""
    value = plain.get(name) if isinstance(plain, Mapping) else None
    return {v for v in (value if isinstance(value, list) else [value]) if isinstance(v, int)}


def _given(own: Mapping[str, Any]) -> GivenGrid:
    """The grid of settings that are not checked yet: what is none there is refused where they are."""
    card = _part(own, "card")
    sizes = card.get("spacing_mm") or card.get("pixel_m") or ()
    sizes = sizes if isinstance(sizes, (list, tuple)) else (sizes,)
    known = bool(sizes) and all(isinstance(v, (int, float)) and 0 < v < math.inf for v in sizes)
    letters, rank = card.get("orientation"), card.get("rank")
    return GivenGrid(
        tuple(map(float, sizes)) if known else None,
        letters if isinstance(letters, str) else None,
        rank if rank in (2, 3) else None,
        known_resampling(card.get("resampling")),
    )


def measure_dataset(
    pairs: Sequence[Pair],
    *,
    align: str | None = None,
    ignore: Collection[int] = (),
    gpus: int | None = None,
    channels: tuple[str, ...] | None = None,
    held_out: Collection[str] = (),
    own_grid: GivenGrid = NOT_GIVEN,
) -> DatasetFacts:
    """The facts of these pairs and of this machine. Memory is bounded whatever their size.

    ``ignore``: label values that are no class, besides nodata. ``channels``: where they are known. ``held_out``: parts, or ``folds``, that
    a recipe holds out. ``own_grid``: that of a recipe. Raises InputError, naming the file,
    where kinds or channels differ between images, or where label values are fractions or too many to
    be classes.
    """
    pairs = sorted(pairs, key=lambda pair: pair.case)
    named = None if channels is None else tuple(Channel(name=name) for name in channels)
    axes = Axes(channels=named)
    infos = [_header(pair, align, axes) for pair in pairs]
    _require_alike(infos)
    headers = [Header(p.case, i.extent, _spacing(i)) for p, i in zip(pairs, infos, strict=True)]
    grid = choose_grid(infos[0].kind, headers, own_grid)
    given = {pair.split for pair in pairs} - {None}
    split_given = bool(given) or "folds" in held_out or {"validation", "test"} <= {*held_out}
    extents = [grid.extent_of(header) for header in headers]
    strips = _Strips.over(extents) if len(pairs) < FEW_CASES and not split_given else None
    measured = [
        _measure_case(pair, align, _on_grid(axes, grid, header), header.spacing, ignore, strips)
        for pair, header in zip(pairs, headers, strict=True)
    ]
    first = infos[0]
    names = tuple(first.channels)
    if len(set(names)) < len(names):
        names = tuple(f"channel {k}" for k in range(1, len(names) + 1))
    return DatasetFacts(
        kind=first.kind,
        channels=names,
        dtype=first.dtype,
        whole=all(whole for _, whole in measured),
        cases=tuple(case for case, _ in measured),
        memory_bytes=hardware.memory_bytes(),
        cores=hardware.cores(),
        gpus=hardware.gpus() if gpus is None else gpus,
        strips=None if strips is None else strips.facts(),
        split_given=split_given,
        free=_free(pairs, held_out),
        grid=grid,
    )


def _free(pairs: Sequence[Pair], held_out: Collection[str]) -> tuple[str, ...]:
    """The cases that validation may be chosen from, where manifests name a test part alone."""
    named = {pair.split for pair in pairs} | {*held_out}
    if "test" not in named or named & {"validation", "folds"}:
        return ()
    free = tuple(pair.case for pair in pairs if pair.split is None)
    return free if len(free) > 1 else tuple(pair.case for pair in pairs if pair.split != "test")


def _header(pair: Pair, align: str | None, axes: Axes) -> SourceInfo:
    with open_pair(pair, axes, align) as (image, _):
        if axes.channels is None:
            require_settled(image.info, "a training that is given no names of channels")
        return image.info


def _require_alike(infos: list[SourceInfo]) -> None:
    first = infos[0]
    for info in infos[1:]:
        for what, a, b in (
            ("kind", first.kind, info.kind),
            ("number of channels", len(first.channels), len(info.channels)),
        ):
            if a != b:
                raise InputError(
                    f"{info.path} has another {what} than {first.path} ({b} against {a}), and one "
                    "model sees one: take it out"
                )


def _on_grid(axes: Axes, grid: ChosenGrid, header: Header) -> Axes:
    """The axes in which a file is seen on the grid of the model."""
    axes, spacing = replace(axes, resampling=grid.resampling), grid.spacing_of(header.spacing)
    if len(header.extent) == 2:
        return replace(axes, pixel_m=None if spacing is None else spacing[0])
    return replace(axes, spacing_mm=spacing)


def _measure_case(
    pair: Pair,
    align: str | None,
    axes: Axes,
    spacing: tuple[float, ...] | None,
    ignore: Collection[int],
    strips: _Strips | None,
) -> tuple[CaseFacts, bool]:
    """The facts of a case, and whether its image holds whole numbers only. ``spacing``: of its file."""
    with open_pair(pair, axes, align) as (image, label):
        values = _middle_values(image)
        case = CaseFacts(
            case=pair.case,
            extent=image.info.extent,
            spacing=spacing,
            voxels=_classes(label, ignore, strips),
            low=float(values.min()),
            high=float(values.max()),
            mean=float(values.mean()),
        )
        return case, bool((values == np.round(values)).all())


def _middle_values(image: View) -> np.ndarray:
    """Valid physical values in the middle of an image, all channels, ``(n,)``, as its file has them; ``[0]`` without any."""
    source = image if image.grid is None else image.file
    extent = source.info.extent
    part = min(1.0, (SAMPLE_VOXELS / math.prod(extent)) ** (1 / len(extent)))
    shape = tuple(max(1, int(n * part)) for n in extent)
    pixels = source.read(Box.whole(extent).middle(shape))
    values = pixels.physical(np.float64)
    keep = np.isfinite(values) if pixels.valid is None else np.isfinite(values) & pixels.valid
    return values[keep] if keep.any() else np.zeros(1)


def _spacing(info: SourceInfo) -> tuple[float, ...] | None:
    """mm per axis of a volume, metres of a raster; None where the file states none.

    Metres of the plane of the CRS where these are true ones, since they are the round numbers that people know.
    """
    georef = info.georef
    if not isinstance(georef, RasterGeoref):
        return georef.spacing_mm if min(georef.spacing_mm) > 0 else None
    sides = pixel_sides_m(georef, info.extent)
    if georef.metres_per_unit is None:
        return sides
    plane = tuple(side * georef.metres_per_unit for side in georef.spacing)
    true = sides is None or np.allclose(sides, plane, rtol=TRUE_PLANE)
    return plane if true and min(plane) > 0 else sides


def _classes(label: View, ignore: Collection[int], strips: _Strips | None) -> dict[int, int]:
    """Voxels per label value, from one pass."""
    voxels: Counter[int] = Counter()
    for box in piece_boxes(label.info):
        pixels = label.read(box)
        voxels += _counted(pixels, ignore, label.info.path)
        if len(voxels) > MOST_VALUES:
            raise InputError(
                f"{label.info.path} has more than {MOST_VALUES} different values, which are "
                "numbered objects or measurements and no classes: give a class per voxel"
            )
        if strips is not None:
            strips.add(box, pixels, ignore, label.info.path)
    return dict(sorted(voxels.items()))


def _counted(pixels: Pixels, ignore: Collection[int], path: str) -> Counter[int]:
    values = pixels.physical(np.float64)[..., 0]
    values = values if pixels.valid is None else values[pixels.valid[..., 0]]
    distinct, counts = np.unique(values, return_counts=True)
    if (odd := distinct[distinct != np.round(distinct)]).size:
        raise InputError(
            f"{path} has the value {odd[0]:g}, and labels are whole numbers: give a class per voxel"
        )
    pairs = zip(map(int, distinct), map(int, counts), strict=True)
    return Counter({value: n for value, n in pairs if value not in ignore})


class _Strips:
    """Voxels per label value in equal parts of the longest axis of the smallest case."""

    def __init__(self, axis: int, length: int, reach: tuple[int, ...]) -> None:
        self.axis, self.reach = axis, reach
        parts = min(STRIPS, length)
        self.edges = [length * k // parts for k in range(parts + 1)]
        self.voxels: list[Counter[int]] = [Counter() for _ in range(parts)]

    @classmethod
    def over(cls, extents: list[tuple[int, ...]]) -> _Strips:
        least = tuple(map(min, zip(*extents, strict=True)))
        reach = tuple(map(max, zip(*extents, strict=True)))
        return cls(least.index(max(least)), max(least), reach)

    def add(self, box: Box, pixels: Pixels, ignore: Collection[int], path: str) -> None:
        """Count the labels of ``box``, part by part."""
        first, last = box.start[self.axis], box.stop[self.axis]
        inner = [e - first for e in self.edges[1:-1]]
        cuts = [0, *(min(max(e, 0), last - first) for e in inner), last - first]
        for k, (a, b) in enumerate(pairwise(cuts)):
            if b > a:
                part = pixels[(slice(None),) * self.axis + (slice(a, b),)]
                self.voxels[k] += _counted(part, ignore, path)

    def facts(self) -> StripStats:
        return StripStats(self.axis, tuple(self.edges), tuple(map(dict, self.voxels)), self.reach)
