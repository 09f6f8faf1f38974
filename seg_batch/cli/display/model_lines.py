"""Installed bundles, their cards and scores, as JSON-ready values and as lines of text."""

from __future__ import annotations

from typing import Any

from seg_batch.cli.display.rows import rows
from seg_batch.config.card import WHOLE_PATCH
from seg_batch.inference.bundles import (
    Model,
    bundle_folders,
    find_bundle,
    installed_bundles,
    require_intact,
)


def model_facts(name: str | None) -> dict[str, Any]:
    """All installed bundles in short, or one whole card."""
    if name is not None:
        model = require_intact(find_bundle(name))
        return {"path": str(model.path or ""), **model.card.model_dump(mode="json")}
    return {
        "folders": [str(folder) for folder in bundle_folders()],
        "models": [{"path": str(m.path), **_short(m)} for m in installed_bundles()],
    }


def _short(model: Model) -> dict[str, Any]:
    card = model.card
    return {
        "name": model.name,
        **{key: getattr(card, key) for key in ("kind", "rank")},
        "channels": list(card.channel_names or ()),
        "classes": [c.name for c in card.classes],
        "patch": list(card.patch or ()),
        **{key: getattr(card, key) for key in ("scores", "licence", "description")},
    }


def model_lines(facts: dict[str, Any]) -> str:
    if "models" not in facts:
        return _card_lines(facts)
    lines = []
    for m in facts["models"]:
        lines += [
            f"{m['name']}  ({m['rank']}-D {m['kind']}, {m['licence']})",
            f"  {m['description']}",
            f"  channels  {', '.join(m['channels'])}",
            f"  classes   {', '.join(m['classes'])}",
        ]
    lines.append("probe  (any input, no network): class = floor(first channel) mod 8")
    return "\n".join(lines)


def _card_lines(card: dict[str, Any]) -> str:
    """A card as lines of a name and a value, without its tables of numbers."""
    border, training = card["border"], card["scores"].get("training", {})
    values = {
        **{k: v for k, v in card.items() if k not in ("border", "split", "scores", "compute")},
        "classes": ", ".join(f"{c['id']} {c['name']}" for c in card["classes"]),
        "architecture": {k: v for k, v in card["architecture"].items() if k != WHOLE_PATCH},
        "sees whole patch": "; ".join(card["architecture"].get(WHOLE_PATCH, ())),
        "seam index": _seam_index(card["scores"]),
        "GFLOP per patch": round(card["compute"]["flops"] / 1e9, 2) or None,
        "border reach": border and border["reach"],
        "--overlap auto": border and border["overlap"],
        "trained": training and f"{training.get('steps')} steps, {training.get('minutes')} minutes",
    }
    pairs = [(k, v) for k, v in values.items() if v not in (None, "", [], {})]
    return "\n".join([rows(pairs), *score_lines(card)])


def _seam_index(scores: dict[str, Any]) -> float | None:
    """As measured on the test part, else on the validation part (see ``sliding_window.seams``)."""
    measured = (scores.get(part, {}).get("seams") for part in ("test", "validation"))
    return next((s["index"] for s in measured if s and s.get("index") is not None), None)


def score_lines(card: dict[str, Any]) -> list[str]:
    """The scores of a trained bundle on each held-out part, with 95 % intervals where it has them."""
    lines = []
    for part in ("validation", "test"):
        scores = card["scores"].get(part, {})
        if "overall" in scores:
            overall, classes = scores["overall"], scores["classes"]
            lines.append(
                f"{part}: accuracy {interval_text(overall['accuracy'])}, "
                f"mean Dice {interval_text(overall['mean_dice'])}  ({scores['measured_on']})"
            )
            lines += [
                f"  {name}: Dice {interval_text(row['dice'])}" for name, row in classes.items()
            ]
    return lines


def interval_text(number: dict[str, Any]) -> str:
    """A number of ``metrics.summarise`` as ``mean [low, high]``."""
    if number["mean"] is None:
        return "undefined"
    if number["low"] is None:
        return f"{number['mean']:.4f}"
    return f"{number['mean']:.4f} [{number['low']:.4f}, {number['high']:.4f}]"
