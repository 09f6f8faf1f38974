"""The split of a dataset: the part of every case and box, decided once and stored with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from seg_batch.config.recipe.hold_out import PARTS, HoldOut
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Blocks, Box, Shape

type Held = tuple[str, Box]
BOXES_ON_MODEL = "model"  # of ``grid`` in what a card says of its boxes


@dataclass(frozen=True)
class Split:
    """``cases``: the part of every case, or ``boxes`` where only boxes of it are held out, which
    ``boxes`` lists. ``gap``: voxels between these and any training tile, per axis."""

    cases: Mapping[str, str]
    boxes: Mapping[str, tuple[Held, ...]]
    gap: Shape
    folds: Mapping[str, Any] | None = None

    def whole(self, case: str) -> str | None:
        """The part that a case is held out for as a whole, else None."""
        part = self.cases[case]
        return part if part in PARTS[1:] else None

    def held(self, case: str, extent: Shape) -> tuple[Held, ...]:
        """All that is held out of a case."""
        part = self.whole(case)
        return ((part, Box.whole(extent)),) if part else self.boxes.get(case, ())

    def to_json(self) -> dict[str, Any]:
        """Plain values: ``boxes`` as case -> part -> list of ``[start, stop]``."""
        boxes = {
            case: {
                name: [[list(b.start), list(b.stop)] for part, b in held if part == name]
                for name in PARTS[1:]
            }
            for case, held in self.boxes.items()
        }
        gap = list(self.gap) if boxes else None
        folds = dict(self.folds) if self.folds else None
        return {"cases": dict(self.cases), "boxes": boxes, "gap": gap, "folds": folds}

    def stated(self) -> dict[str, Any]:
        """``to_json`` for datasets and cards. ``grid`` says that boxes are in voxels of the model; where they do
        not say it, as those of before, boxes are in voxels of the files."""
        plain = self.to_json()
        return {**plain, "grid": BOXES_ON_MODEL} if self.boxes else plain


def resolve_split(
    hold_out: HoldOut,
    extents: Mapping[str, Shape],
    patch: Shape,
    given: Mapping[str, str] | None = None,
) -> Split:
    """The split of these cases. ``extents``: by case, in the dataset's order; ``patch``: the gap
    where the recipe names none; ``given``: parts that the manifest names. InputError where these
    contradict each other or a part comes out empty."""
    given, rank = given or {}, len(patch)
    gap = _of_rank(patch if hold_out.gap is None else hold_out.gap, rank, "gap")
    _cases_exist(hold_out, extents)
    if hold_out.folds:
        split = _folded(hold_out, extents, gap, given)
    else:
        split = _held(hold_out, extents, gap, given)
    _nothing_is_empty(hold_out, split)
    return split


def _of_rank(sides: Shape, rank: int, name: str) -> Shape:
    sides = sides * rank if len(sides) == 1 else sides
    if len(sides) != rank:
        raise InputError(f"hold_out.{name} {list(sides)} must have {rank} sides, one for each axis")
    return sides


def _cases_exist(hold_out: HoldOut, extents: Mapping[str, Shape]) -> None:
    """InputError for a misspelt case, which would be trained on instead of held out."""
    named = {*hold_out.validation.cases, *hold_out.test.cases}
    if unknown := sorted(named - set(extents)):
        raise InputError(
            f"the recipe holds out case {unknown[0]}, which no pair is called: correct "
            f"hold_out, or add its pair (the first cases are {', '.join(sorted(extents)[:5])})"
        )


def _held(
    hold_out: HoldOut, extents: Mapping[str, Shape], gap: Shape, given: Mapping[str, str]
) -> Split:
    cases, boxes, validated = {}, {}, "validation" in given.values()
    for number, (case, extent) in enumerate(extents.items()):
        whole, inside = hold_out.part_of(case, number), tuple(hold_out.boxes_in(extent))
        named = given.get(case)
        if whole == "validation" and named == "training" and not validated:
            named = None  # a training part is divided where the manifest has no other
        if named is not None:
            _agree(case, named, whole, inside)
        part = named or whole
        if part is None and inside:
            boxes[case] = inside
        cases[case] = part or ("boxes" if inside else "training")
    return Split(cases, boxes, gap)


def _agree(case: str, given: str, recipe: str | None, inside: tuple[Held, ...]) -> None:
    if inside or recipe not in (None, given):
        what = f"says {recipe}" if recipe not in (None, given) else "holds out boxes of it"
        raise InputError(
            f"the manifest puts case {case} in {given}, the recipe's hold_out {what}: "
            "leave the split to one of them"
        )


def _folded(
    hold_out: HoldOut, extents: Mapping[str, Shape], gap: Shape, given: Mapping[str, str]
) -> Split:
    folds = hold_out.folds
    assert folds is not None
    if given:
        raise InputError(
            f"the manifest puts case {next(iter(given))} in {next(iter(given.values()))}, the "
            "recipe's hold_out.folds decides by itself: leave the split to one of them"
        )
    if folds.block is None:
        parts = folds.parts(_enough(list(extents), folds.count, "cases"))
        return Split({case: parts[case] for case in extents}, {}, gap, folds.model_dump())
    shape = _of_rank(folds.block, len(gap), "folds.block")
    units = {
        f"{case}/{block.name}": (case, block.box)
        for case, extent in extents.items()
        for block in Blocks(extent, shape)
    }
    parts = folds.parts(_enough(list(units), folds.count, "blocks"))
    boxes = {
        case: tuple(
            (parts[u], box) for u, (c, box) in units.items() if c == case and parts[u] in PARTS[1:]
        )
        for case in extents
    }
    boxes = {case: held for case, held in boxes.items() if held}
    cases = {case: "boxes" if case in boxes else "training" for case in extents}
    return Split(cases, boxes, gap, folds.model_dump(mode="json"))


def _enough(units: list[str], count: int, what: str) -> list[str]:
    if len(units) < count:
        advice = "give hold_out.folds.block" if what == "cases" else "give smaller blocks"
        raise InputError(
            f"{len(units)} {what} make no {count} folds, one would be empty: {advice}, or fewer folds"
        )
    return units


def _nothing_is_empty(hold_out: HoldOut, split: Split) -> None:
    parts = set(split.cases.values()) | {part for held in split.boxes.values() for part, _ in held}
    if not parts & {"training", "boxes"}:
        raise InputError(
            "every case is held out, nothing is left to train on: hold out fewer cases"
        )
    for name in PARTS[1:]:
        if getattr(hold_out, name).asked and name not in parts:
            raise InputError(
                f"hold_out.{name} matches no case and no voxel of {len(split.cases)} cases, the "
                f"{name} part would be empty: correct it"
            )
