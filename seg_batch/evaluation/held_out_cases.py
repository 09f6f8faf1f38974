"""The cases that a bundle is evaluated on: held-out regions of a patch dataset, or pairs of files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from seg_batch.config.card import ModelCard
from seg_batch.config.options import declared
from seg_batch.config.predict_options import ModelOptions, PredictOptions
from seg_batch.config.recipe.vector_labels import BY_THEMSELVES, VectorLabels
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.datasets.label_classes import of_card, require_data
from seg_batch.datasets.pairs import MANIFESTS, Pair, find_pairs
from seg_batch.datasets.patch_set import HeldRegion, PatchSet
from seg_batch.datasets.split import BOXES_ON_MODEL
from seg_batch.evaluation.dataset_card import require_card, spacing_of_card
from seg_batch.evaluation.file_pairs import file_facts, spacing_of
from seg_batch.evaluation.predict_region import Region
from seg_batch.evaluation.view_region import (
    SourceRegion,
    ViewRegion,
    held_boxes,
    in_file,
    open_entry,
    whole_region,
)
from seg_batch.inference.fit.look import look
from seg_batch.inference.sliding_window.grid import make_grid
from seg_batch.io.sources import pieces
from seg_batch.io.sources.views.channels.by_name import BY_NAME
from seg_batch.io.sources.views.model_grid import ModelGrid
from seg_batch.io.vectors.labels import LabelRules, is_vector

SPLITS = ("test", "validation", "training", "all")


@dataclass(frozen=True)
class EvalCase:
    """A region to be opened: of a dataset, or of a pair of files (``box`` None: the whole case). ``box``: as the card
    has its boxes; ``place``: the same in voxels of the file."""

    name: str
    case: str
    box: Box | None
    facts: dict[str, Any]
    region: HeldRegion | None = None
    pair: Pair | None = None
    place: Box | None = None

    def seen_by(self, card: ModelCard) -> bool:
        """Whether the card says that its bundle was trained on the case, here or around here."""
        part = card.split.get("cases", {}).get(self.case)
        if part != "boxes":
            return part == "training"
        box = self.box
        return box is None or not any(held.contains(box) for held in held_boxes(card, self.case))


@dataclass(frozen=True)
class Learnt:
    """How the training of a bundle read its labels: the values that it ignored, and how it drew vectors."""

    ignore: tuple[float, ...] = ()
    labels: VectorLabels = BY_THEMSELVES


@dataclass(frozen=True)
class EvalSet:
    """The cases of one split, opened one after the other; ``facts``: their source, as JSON. ``learnt``: those beside them
    that are to be learnt from, where they are pairs; None: a dataset, which keeps them as patches."""

    card: ModelCard
    cases: list[EvalCase]
    ignore: tuple[float, ...]
    facts: dict[str, Any]
    options: ModelOptions = field(default_factory=ModelOptions)
    warnings: tuple[str, ...] = ()
    learnt: list[EvalCase] | None = None

    def held_of(self, case: EvalCase, region: Region) -> list[Box]:
        """What the card says was held out of a case, in voxels of its region."""
        boxes = held_boxes(self.card, case.case)
        if not isinstance(region, ViewRegion):
            return list(boxes)
        return [in_file(box, case.case, region.image.coarse, self.card) for box in boxes]

    @contextmanager
    def open(self, case: EvalCase) -> Iterator[tuple[Region, tuple[float, ...] | None]]:
        """The region and its spacing; files are closed at the end."""
        if case.region is not None:
            yield case.region, spacing_of_card(self.card, len(case.region.extent))
            return
        assert case.pair is not None
        with open_entry(case.pair, self.card, self.options) as (image, label):
            whole = whole_region(image, self.card)
            region = SourceRegion(
                box=case.place or whole.box,
                image=image,
                normaliser=whole.normaliser,
                case=case.case,
                label=label,
                classes=of_card(self.card),
                ignore=self.ignore,
                missing=self.card.missing,
            )
            yield region, spacing_of(image.info)


def collect_cases(
    data: Path,
    split: str,
    card: ModelCard,
    options: PredictOptions,
    ignore: tuple[float, ...],
    learnt: Learnt = Learnt(),
) -> EvalSet:
    """The regions of ``split`` in a patch dataset, a manifest, a folder of pairs or one pair. ``learnt``: see there; a dataset was cut by it.

    InputError when there are none, or when the data does not fit the card: headers are compared and
    labels read here, so that a case that can't be used is named before the model is loaded.
    """
    if split not in SPLITS:
        raise InputError(f"--split {split!r} is unknown: use one of {', '.join(SPLITS)}")
    if not _is_dataset(data):
        return _of_pairs(
            data, split, card, replace(learnt, ignore=(*ignore, *learnt.ignore)), options
        )
    if ignore:
        raise InputError(
            f"{data} was cut with the values that it ignores, --ignore can't change them: drop it, "
            "or evaluate the manifest"
        )
    for name in ("alpha", "bands", "scale", "offset", "resample", "spacing"):
        if getattr(options, name) != declared(ModelOptions)[name].unsaid:
            raise InputError(
                f"{data} is cut already, --{name} can't change it: drop it, or evaluate the manifest"
            )
    return _of_dataset(data, split, card, options)


def _is_dataset(data: Path) -> bool:
    pairs = data.suffix.lower() in MANIFESTS or "=" in str(data) or (data / "images").is_dir()
    return not pairs


def with_patch_kept(data: Path, options: PredictOptions) -> PredictOptions:
    """The options, without a choice of the patch where a dataset keeps no more than that of the card around a region."""
    keeps_card = options.patch == "auto" and _is_dataset(data)
    return replace(options, patch="card") if keeps_card else options


def uniquely_named(regions: list[HeldRegion]) -> list[tuple[str, HeldRegion]]:
    """Regions by name: their case, with the box where several lie in one case."""
    count = Counter(region.case for region in regions)
    return [(r.case if count[r.case] == 1 else f"{r.case} [{r.box}]", r) for r in regions]


def _of_dataset(data: Path, split: str, card: ModelCard, options: PredictOptions) -> EvalSet:
    patches = PatchSet(data)
    if split == "training":
        raise InputError(
            f"{data} holds the training part as patches, and scores are of whole regions: "
            "evaluate the manifest it was cut from"
        )
    require_card(patches, card)
    parts = ["validation", "test"] if split == "all" else [split]
    regions = [region for part in parts for region in patches.held(part)]
    if not regions:
        raise InputError(f"{data} holds nothing out for {split}: cut it with a hold_out.{split}")
    for region in regions:
        _require_reach(region, card, options, data)
    if normaliser := card.normalisation.normaliser():
        regions = [replace(region, normaliser=normaliser) for region in regions]
    grids = {case["case"]: case["identities"].get("grid") for case in patches.cases}
    cases = [
        EvalCase(
            name,
            region.case,
            _as_in_card(region.box, grids[region.case], card),
            {"part": region.part},
            region=region,
        )
        for name, region in uniquely_named(regions)
    ]
    facts = {"path": str(data), "kind": "patch dataset", "fingerprint": patches.fingerprint}
    return EvalSet(card, cases, (), facts)


def _as_in_card(box: Box, grid: dict[str, Any] | None, card: ModelCard) -> Box:
    """A box of a dataset, whose case came to this ``ModelGrid``, on the grid of the card's boxes."""
    if grid is None or card.split.get("grid") == BOXES_ON_MODEL:
        return box
    return ModelGrid.from_json(grid).inside(box)


def _require_reach(
    region: HeldRegion, card: ModelCard, options: PredictOptions, data: Path
) -> None:
    """InputError where the model needs more than the patch that a dataset keeps around a region."""
    grid, _ = make_grid(region.extent, card, options)
    if not region.window.contains(grid.window(region.box)):
        raise InputError(
            f"{data} keeps too little around {region.case} for patches of {grid.patch}: evaluate "
            "a manifest, which reads from the sources"
        )


def _of_pairs(
    data: Path, split: str, card: ModelCard, learnt: Learnt, options: ModelOptions
) -> EvalSet:
    pairs, ignore = find_pairs([str(data)], options.alpha), learnt.ignore
    chosen = [(pair, box) for pair in pairs.pairs for box in _boxes_of(pair, split, card)]
    if not chosen:
        have = ", ".join(sorted({pair.split or "none" for pair in pairs.pairs}))
        raise InputError(
            f"{data} has no case with the split {split} (it has: {have}), and the card of "
            f"{card.name} holds none of them out for it: use --split all, or name splits"
        )
    for where, manifest in pairs.manifests.items():
        if manifest.classes and [c.id for c in manifest.classes] != [c.id for c in card.classes]:
            raise InputError(f"{where} has other classes than {card.name}: evaluate its own bundle")
        ignore = (*ignore, *manifest.ignore)
    said = [m.vector_labels for m in pairs.manifests.values() if m.vector_labels != BY_THEMSELVES]
    rules = LabelRules.of(said[0] if said else learnt.labels, card.classes, ignore)
    chosen = [(replace(pair, rules=rules), box) for pair, box in chosen]
    facts = {"path": str(data), "kind": "pairs", **(file_facts(data) if data.is_file() else {})}
    count, cases, lines = Counter(pair.case for pair, _ in chosen), [], list[str]()
    for pair, box in chosen:
        place, told = _usable(pair, box, card, ignore, options)
        lines += told
        name = pair.case if count[pair.case] == 1 else f"{pair.case} [{box}]"
        if place is None or place.size:
            cases.append(EvalCase(name, pair.case, box, _facts(pair), pair=pair, place=place))
    if not cases:
        raise InputError(f"{lines[-1]}, so there is nothing to score: use --split all")
    beside = [
        EvalCase(p.case, p.case, None, {}, pair=replace(p, rules=rules))
        for p in pairs.pairs
        if (p.split or card.split.get("cases", {}).get(p.case)) in ("training", "boxes")
    ]
    every = tuple(dict.fromkeys(lines))
    return EvalSet(card, cases, ignore, facts, options, every, beside)


def _boxes_of(pair: Pair, split: str, card: ModelCard) -> list[Box | None]:
    """What of a case belongs to ``split``: all of it (None), or boxes. Where the manifest names no
    split for it, it is what the card says was held out when the bundle was trained."""
    if split == "all" or pair.split == split:
        return [None]
    if pair.split is not None:
        return []
    part = card.split.get("cases", {}).get(pair.case)
    if part == split:
        return [None]
    return [*held_boxes(card, pair.case, (split,))] if part == "boxes" else []


def _usable(
    pair: Pair,
    box: Box | None,
    card: ModelCard,
    ignore: tuple[float, ...],
    options: ModelOptions,
) -> tuple[Box | None, list[str]]:
    """The voxels of the file that are scored (None: all), and what is to be told of the case. InputError unless it can
    be scored: both headers, one pass over the labels."""
    with open_entry(pair, card, options) as (image, label):
        classes = of_card(card)
        require_data(label.info, classes.ids.tolist(), ignore)
        for piece in pieces(label.file):
            classes.indices(piece, ignore, label.info.path)
        verdict = look(image, [card])
    told = [line for line in image.file.info.warnings if line.startswith(BY_NAME)]
    told += (*verdict.lines, *(label.info.warnings if is_vector(pair.label) else ()))
    place = None if box is None else in_file(box, pair.case, image.coarse, card)
    if place is not None and not place.size:
        told.append(f"no whole voxel of {image.info.path} lies in {box}, which was held out")
    return place, [f"{pair.case}: {line}" for line in told]


def _facts(pair: Pair) -> dict[str, Any]:
    images = [{"path": p, **file_facts(Path(p))} for p in pair.images]
    label = {"path": pair.label, **file_facts(Path(pair.label))}
    return {"split": pair.split, "image": images, "truth": label}
