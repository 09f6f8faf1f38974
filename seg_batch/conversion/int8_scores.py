"""The loss of Dice by int8 quantisation, on held-out cases, against the same network in float32."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seg_batch.config.card import ModelCard
from seg_batch.conversion.sample_patches import held_part, is_dataset
from seg_batch.core.errors import InputError
from seg_batch.core.units import counted_plainly
from seg_batch.datasets.patch_set import HeldRegion
from seg_batch.evaluation.held_out_cases import collect_cases
from seg_batch.evaluation.score import scores_of
from seg_batch.inference.bundles import Model
from seg_batch.inference.sliding_window.grid import AS_TRAINED
from seg_batch.inference.sliding_window.stitch import Predictor
from seg_batch.nn.export.formats import DICE_LOSS, ExportFormat


def scored(
    card: ModelCard, model: Model, form: ExportFormat, file: Path, data: Path
) -> tuple[ModelCard, dict[str, Any] | None]:
    """The card with the scores of the quantised file, and the comparison with float32.

    Both are measured on the held-out part of a dataset, stitched as in predict. Without a held-out
    part the card has no scores and the comparison is None. Raises InputError if more than
    ``DICE_LOSS`` of mean Dice is lost.
    """
    kept = {k: v for k, v in card.scores.items() if k == "training"}
    part = held_part(data) if is_dataset(data) else None
    if part is None:
        return card.model_copy(update={"scores": kept}), None
    regions = [c.region for c in collect_cases(data, part, card, AS_TRAINED, ()).cases if c.region]
    before = scores_of(regions, card, _predictor("keras_file", model.weights))
    after = scores_of(regions, card, _predictor(form.module, file))
    dice = _compared(part, regions, before, after)
    if dice["loss"] is not None and dice["loss"] > DICE_LOSS:
        raise InputError(
            f"int8 costs {card.name} {dice['loss']:.4f} of mean Dice on {dice['measured_on']} "
            f"(allowed {DICE_LOSS}); nothing was kept, calibrate on more patches or stay with float32"
        )
    how = {"precision": "int8", "taper": "hann", "overlap": list(card.overlap or ())}
    scored_part = {"measured_on": dice["measured_on"], **after}
    scores = {part: scored_part, "how": how, "int8": dice, **kept}
    return card.model_copy(update={"scores": scores}), dice


def _predictor(module: str, file: Path) -> Predictor:
    from seg_batch.nn.backend import quiet_stderr

    with quiet_stderr():
        exported = importlib.import_module(f"seg_batch.nn.export.{module}").read(file)
    predict: Predictor = exported.predict
    return predict


def _compared(
    part: str, regions: Sequence[HeldRegion], before: dict[str, Any], after: dict[str, Any]
) -> dict[str, Any]:
    a, b = (scores["overall"]["mean_dice"]["mean"] for scores in (before, after))
    classes = {
        name: [scores["classes"][name]["dice"]["mean"] for scores in (before, after)]
        for name in before["classes"]
    }
    cases = len({region.case for region in regions})
    return {
        "measured_on": f"the {part} part of {counted_plainly(cases, 'case')}, held out",
        "float32": a,
        "int8": b,
        "loss": None if a is None or b is None else round(a - b, 4),
        "classes_float32_int8": classes,
    }


def line(dice: dict[str, Any]) -> str:
    """The comparison in one line for people."""
    if dice["loss"] is None:
        return f"mean Dice is undefined on {dice['measured_on']}"
    return (
        f"mean Dice {dice['int8']:.4f}, float32 {dice['float32']:.4f}: loses {dice['loss']:.4f} on "
        f"{dice['measured_on']}"
    )
