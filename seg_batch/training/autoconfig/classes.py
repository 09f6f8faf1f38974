"""The classes: ids of the labels, a name and a colour each, and the background class."""

from __future__ import annotations

from typing import Any

from seg_batch.config.colours import BLACK, colours
from seg_batch.core.units import share_roughly
from seg_batch.training.autoconfig.dataset_stats import DatasetFacts
from seg_batch.training.autoconfig.reasons import Reason

IGNORE = 255


def ignored(facts: DatasetFacts) -> tuple[int, ...]:
    """255 means "not labelled" if the labels hold two or more other values."""
    values = facts.voxels
    return (IGNORE,) if IGNORE in values and len(values) > 2 else ()


def background(facts: DatasetFacts) -> int | None:
    """0 in volumes, and in rasters where it fills more than half of the labelled voxels."""
    zero = shares(facts).get(0)
    return 0 if zero is not None and (facts.kind == "volume" or zero > 0.5) else None


def shares(facts: DatasetFacts) -> dict[int, float]:
    """Share of each class in the labelled voxels."""
    counts = {k: n for k, n in facts.voxels.items() if k not in ignored(facts)}
    total = max(1, sum(counts.values()))
    return {k: n / total for k, n in counts.items()}


def choose_classes(facts: DatasetFacts) -> list[Reason]:
    classes, skip, ground = shares(facts), ignored(facts), background(facts)
    palette = iter(colours(len(classes)))
    table: list[dict[str, Any]] = [
        {"id": 0, "name": "background", "colour": list(BLACK)}
        if k == ground
        else {"id": k, "name": f"class {k}", "colour": list(next(palette))}
        for k in classes
    ]
    parts = ", ".join(f"{k}: {share_roughly(share)}" for k, share in classes.items())
    why = f"values found in the labels of {facts.count}, share of voxels {parts}"
    return [
        Reason("card.classes", table, why, shown=", ".join(c["name"] for c in table)),
        Reason("card.background", ground, _why_background(facts, ground)),
        Reason("cut.ignore", list(skip), _why_ignore(facts, skip)),
        *_scarce(facts, classes),
    ]


def _why_background(facts: DatasetFacts, ground: int | None) -> str:
    if ground is None:
        return "no class is what is left over, so every class counts in scores and losses"
    if facts.kind == "volume":
        return "in volumes 0 is what is not labelled, left out of mean scores"
    return "0 fills more than half of the labels, so it is left out of mean scores"


def _why_ignore(facts: DatasetFacts, skip: tuple[int, ...]) -> str:
    if skip:
        return "255 occurs beside two other values or more, which means not labelled by custom"
    if IGNORE in facts.voxels:
        return "255 is one of two values, so it is a class"
    return "255 does not occur as a label"


def _scarce(facts: DatasetFacts, classes: dict[int, float]) -> list[Reason]:
    """A warning for each class that occurs in too few cases for training, validation and test."""
    warnings = []
    for k in classes if len(facts.cases) >= 5 else ():
        cases = [case.case for case in facts.cases if case.voxels.get(k)]
        if len(cases) < 3:
            why = f"class {k} occurs in {', '.join(cases)} only: it can't be learnt, chosen by and scored"
            warnings.append(Reason("hold_out", None, why, warning=True))
    return warnings
