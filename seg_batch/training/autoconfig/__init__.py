"""A recipe from a dataset fingerprint and the machine, with the reason for each setting.

Pure functions from numbers to settings, as in nnU-Net's experiment planning (Isensee et al., Nature
Methods 18, 2021), but for trainings of half an hour on a workstation without a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seg_batch.core.errors import InputError
from seg_batch.training.autoconfig.classes import choose_classes, shares
from seg_batch.training.autoconfig.dataset_stats import CaseFacts, DatasetFacts, StripStats
from seg_batch.training.autoconfig.hold_out import STRIPS, choose_hold_out
from seg_batch.training.autoconfig.optimisation import (
    choose_augment,
    choose_loss,
    choose_normalisation,
    choose_run,
    choose_sampling,
)
from seg_batch.training.autoconfig.patch_size import FEW_CASES, choose_sizes
from seg_batch.training.autoconfig.reasons import Reason

__all__ = [
    "FEW_CASES",
    "STRIPS",
    "CaseFacts",
    "DatasetFacts",
    "Reason",
    "StripStats",
    "propose_recipe",
    "without_conflicts",
]


def propose_recipe(facts: DatasetFacts) -> tuple[dict[str, Any], tuple[Reason, ...]]:
    """A whole recipe as plain values, and the reason for each of its settings.

    The keys of a :class:`Reason` are dotted keys of the recipe; a warning sets nothing. Raises
    InputError if the labels hold fewer than two classes.
    """
    classes = shares(facts)
    if len(classes) < 2:
        what = f"only the value {next(iter(classes))}" if classes else "no labelled voxel"
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
    card = {"name": facts.name, "kind": facts.kind, "channels": list(facts.channels)}
    plain: dict[str, Any] = {"card": card}
    for reason in (reason for reason in reasons if not reason.warning):
        *path, last = reason.key.split(".")
        part = plain
        for name in path:
            part = part.setdefault(name, {})
        part[last] = reason.value
    return plain, tuple(reasons)


def without_conflicts(plain: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The proposed recipe without the settings that conflict with the user's ``own`` settings.

    A part held out in ``own`` replaces the proposed part as a whole, and folds replace both parts.
    ``cut.patch`` grows with a larger ``fit.patch``.
    """
    out = {key: dict(part) for key, part in plain.items()}
    hold_out = own.get("hold_out") or {}
    for name in ("validation", "test"):
        if name in hold_out or hold_out.get("folds"):
            out.get("hold_out", {}).pop(name, None)
    fit, cut = (own.get("fit") or {}).get("patch"), out["cut"]["patch"]
    if fit and len(fit) == len(cut) and "patch" not in (own.get("cut") or {}):
        out["cut"]["patch"] = list(map(max, fit, cut))
    return out
