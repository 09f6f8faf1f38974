"""A recipe from what is known of the data and the machine, with the reason for each choice.

Pure: numbers in, settings and reasons out. As nnU-Net does (Isensee et al., Nature Methods 18,
2021), but within what a workstation without a GPU can train in half an hour.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seg_batch.core.errors import InputError
from seg_batch.training.autoconfig.classes import choose_classes, shares
from seg_batch.training.autoconfig.dataset_stats import CaseFacts, DatasetFacts, Reason, Strips
from seg_batch.training.autoconfig.hold_out import STRIPS, choose_hold_out
from seg_batch.training.autoconfig.optimisation import (
    choose_augment,
    choose_loss,
    choose_normalisation,
    choose_run,
    choose_sampling,
)
from seg_batch.training.autoconfig.patch_size import FEW_CASES, choose_sizes

__all__ = [
    "FEW_CASES",
    "STRIPS",
    "CaseFacts",
    "DatasetFacts",
    "Reason",
    "Strips",
    "advise",
    "without_conflicts",
]


def advise(facts: DatasetFacts) -> tuple[dict[str, Any], tuple[Reason, ...]]:
    """A whole recipe as plain values, and why each of its settings is what it is.

    The keys of a :class:`Reason` are dotted keys of the recipe; a warning sets nothing. Raises
    InputError where the labels hold fewer than two classes: there is nothing to tell apart.
    """
    if len(found := shares(facts)) < 2:
        what = f"only the value {next(iter(found))}" if found else "no labelled voxel"
        raise InputError(
            f"the labels of all {len(facts.cases)} cases hold {what}, so there is nothing to tell "
            "apart: give labels with two classes or more (0 counts as one)"
        )
    sizes, reasons = choose_sizes(facts)
    reasons = [
        *choose_classes(facts),
        *reasons,
        *choose_normalisation(facts),
        *choose_hold_out(facts, sizes),
        *choose_loss(facts),
        *choose_sampling(facts, sizes),
        *choose_augment(facts, sizes),
        *choose_run(facts, sizes),
    ]
    plain: dict[str, Any] = {}
    card = {"name": facts.name, "kind": facts.kind, "channels": list(facts.channels)}
    _put(plain, "card", card)
    for reason in reasons:
        if not reason.warning:
            _put(plain, reason.key, reason.value)
    return plain, tuple(reasons)


def without_conflicts(plain: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The advice, less what would be mixed with somebody's own settings where these are put over it.

    A part that ``own`` holds out replaces the advised part whole, and folds replace both; a cut
    follows a larger patch to train on.
    """
    out = {key: dict(part) for key, part in plain.items()}
    asked = own.get("hold_out") or {}
    for name in ("validation", "test"):
        if name in asked or asked.get("folds"):
            out.get("hold_out", {}).pop(name, None)
    fit, cut = (own.get("fit") or {}).get("patch"), out["cut"]["patch"]
    if fit and len(fit) == len(cut) and "patch" not in (own.get("cut") or {}):
        out["cut"]["patch"] = list(map(max, fit, cut))
    return out


def _put(plain: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for name in path:
        plain = plain.setdefault(name, {})
    plain[last] = value
