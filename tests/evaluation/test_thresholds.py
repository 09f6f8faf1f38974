"""What can be asked of scores, and what a comparison finds."""

from __future__ import annotations

from typing import Any

import pytest

from seg_batch.core.errors import InputError
from seg_batch.evaluation.thresholds import parse


def number(mean: float | None) -> dict[str, Any]:
    return {"mean": mean, "low": None, "high": None, "cases": 1}


RESULT: dict[str, Any] = {
    "background": "ground",
    "scores": {
        "overall": {"accuracy": number(0.9)},
        "classes": {
            "ground": {"dice": number(0.99), "hausdorff95": number(1.0)},
            "forest": {"dice": number(0.8), "hausdorff95": number(4.0)},
            "snow": {"dice": number(None), "hausdorff95": number(None)},
            "water": {"dice": number(0.6), "hausdorff95": number(2.0)},
        },
        "per_case": [{"mean_dice": 0.65}, {"mean_dice": None}, {"mean_dice": 0.75}],
    },
    "calibration": {"error": 0.04},
    "seams": None,
}


@pytest.mark.parametrize(
    ("text", "found", "met"),
    [
        ("dice>=0.7", 0.7, True),
        ("mean_dice>0.7", 0.7, False),
        ("dice[forest]==0.8", 0.8, True),
        ("dice[ground]<0.99", 0.99, False),
        (" hausdorff95 <= 3 ", 3.0, True),
        ("accuracy!=0.9", 0.9, False),
        ("worst_dice>=.65", 0.65, True),
        ("ece<0.05", 0.04, True),
        ("dice[snow]>=0", None, False),
        ("seam<=1.1", None, False),
    ],
)
def test_a_comparison_finds_its_number(text: str, found: float | None, met: bool) -> None:
    (one,) = parse([text])
    assert one.check(RESULT) == {"require": text.strip(), "found": found, "met": met}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("dise>=0.8", "did you mean dice"),
        ("acuracy>=0.8", "did you mean accuracy"),
        ("dice", "is no comparison"),
        ("dice>=high", "is no number"),
        ("dice>=nan", "is no number"),
        ("accuracy[forest]>=0.8", "drop"),
    ],
)
def test_what_makes_no_sense_is_refused_with_advice(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        parse([text])


def test_a_misspelt_class_is_refused_with_the_nearest() -> None:
    (one,) = parse(["dice[forst]>=0.8"])
    with pytest.raises(InputError, match="did you mean forest"):
        one.require_classes(["ground", "forest"])
