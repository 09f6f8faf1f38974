"""Thresholds of ``--require``: ``dice>=0.8``, ``dice[forest]>=0.84``, ``ece<0.05``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from seg_batch.core.errors import InputError
from seg_batch.core.text import nearest
from seg_batch.evaluation.metrics.confusion import mean_over_classes
from seg_batch.evaluation.metrics.summary import PER_CLASS

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_FORM = re.compile(r"\s*([A-Za-z_0-9]+)\s*(?:\[([^\]]+)\])?\s*(>=|<=|==|!=|>|<)\s*(\S+)\s*")

WHOLE = ("accuracy", "worst_dice", "ece", "seam", "seam_jump")
_ALSO = {"mean_dice": "dice", "mean_iou": "iou", "recall": "sensitivity", "hd95": "hausdorff95"}


@dataclass(frozen=True)
class Requirement:
    """One comparison. ``label``: a class; None: over all classes but the background."""

    text: str
    name: str
    label: str | None
    comparison: str
    limit: float

    def check(self, result: dict[str, Any]) -> dict[str, Any]:
        """``{"require", "found", "met"}``; an undefined score does not meet it."""
        score = self._score(result)
        met = score is not None and _COMPARISONS[self.comparison](score, self.limit)
        return {"require": self.text, "found": score, "met": met}

    def require_classes(self, names: list[str]) -> None:
        """InputError when it names a class that does not exist."""
        if self.label is not None and self.label not in names:
            raise InputError(
                f"--require {self.text}: there is no class {self.label!r}; {nearest(self.label, names)}"
            )

    def _score(self, result: dict[str, Any]) -> float | None:
        scores = result["scores"]
        if self.name in PER_CLASS:
            return _of_classes(scores, self.name, self.label, result["background"])
        if self.name == "accuracy":
            return scores["overall"]["accuracy"]["mean"]
        if self.name == "worst_dice":
            known = [r["mean_dice"] for r in scores["per_case"] if r["mean_dice"] is not None]
            return min(known, default=None)
        if self.name == "ece":
            return (result["calibration"] or {}).get("error")
        seams = result["seams"] or {}
        return seams.get("index" if self.name == "seam" else "jump")


def _of_classes(
    scores: dict[str, Any], name: str, label: str | None, background: str | None
) -> float | None:
    """The mean over cases of one class, or of the classes but the background together."""
    table = {k: row[name]["mean"] for k, row in scores["classes"].items()}
    if label is not None:
        return table[label]
    values = [v for k, v in table.items() if k != background and v is not None]
    return round(mean_over_classes(np.array(values)), 4) if values else None


def parse(texts: list[str]) -> list[Requirement]:
    """The requirements; InputError for a text that can't be read, with the nearest name."""
    return [_parse(text) for text in texts]


def _parse(text: str) -> Requirement:
    form = _FORM.fullmatch(text)
    if form is None:
        raise InputError(
            f"--require {text!r} is no comparison: write it like 'dice>=0.8' or "
            "'dice[forest]>=0.84', in quotes"
        )
    name, label, comparison, number = form.groups()
    name = _ALSO.get(name.lower(), name.lower())
    known = [*PER_CLASS, *WHOLE]
    if name not in known:
        raise InputError(
            f"--require {text}: there is no score {name!r}; {nearest(name, [*known, *_ALSO])}"
        )
    if label is not None and name in WHOLE:
        raise InputError(f"--require {text}: {name} is of all classes together: drop [{label}]")
    try:
        limit = float(number)
    except ValueError:
        limit = float("nan")
    if limit != limit:
        raise InputError(f"--require {text}: {number!r} is no number")
    return Requirement(text.strip(), name, label, comparison, limit)
