"""The classes: ids of the labels, a name and a colour each, and the background class."""

from __future__ import annotations

import colorsys
from typing import Any

from seg_batch.core.units import share_roughly
from seg_batch.io.pictures import OKABE_ITO
from seg_batch.training.autoconfig.dataset_stats import DatasetFacts, Reason

# Then the "muted" scheme of Paul Tol: told apart with any colour vision, too.
COLOURS = (
    *OKABE_ITO, (51, 34, 136), (136, 204, 238), (68, 170, 153), (17, 119, 51), (153, 153, 51),
    (221, 204, 119), (204, 102, 119), (136, 34, 85), (170, 68, 153),
)  # fmt: skip
BLACK = (0, 0, 0)
IGNORE = 255
_GOLDEN = 0.618033988749895


def colours(n: int) -> list[tuple[int, int, int]]:
    """``n`` different colours, none black; the first ones are safe for colour-blind people."""
    palette = list(COLOURS[:n])
    k = 0
    while len(palette) < n:
        hue, light = (k * _GOLDEN) % 1, 0.35 + 0.1 * (k % 5)
        red, green, blue = (round(255 * v) for v in colorsys.hls_to_rgb(hue, light, 0.9))
        if (red, green, blue) not in palette:
            palette.append((red, green, blue))
        k += 1
    return palette


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
