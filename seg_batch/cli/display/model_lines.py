"""Installed bundles, their cards and scores, as JSON-ready values and as lines of text."""

from __future__ import annotations

from typing import Any

from seg_batch.cli.display.library_lines import card_lines, kind_of
from seg_batch.cli.display.rows import rows
from seg_batch.config.card import WHOLE_PATCH
from seg_batch.config.card_parts.network import AS_BEFORE, Output
from seg_batch.core.files import read_json
from seg_batch.core.run_files import ADDED
from seg_batch.core.units import show_bytes, shown
from seg_batch.inference.bundles import Model, bundle_folders, find_bundle, listing, require_intact
from seg_batch.library.listing import folder_bytes, is_packaged, summary_of


def model_facts(name: str | None) -> dict[str, Any]:
    """All installed bundles in short, or one whole card with the place where it lies."""
    found = listing()
    if name is not None:
        model = require_intact(find_bundle(name))
        hides = [str(path) for path in found.hides_of(model)]
        return {
            "path": str(model.path or ""),
            **({"hides": hides} if hides else {}),
            **({"bytes": folder_bytes(model.path)} if model.path else {}),
            "why_fixed": model.card.why_fixed,
            "added": model.path and read_json(model.path / ADDED),
            **model.card.model_dump(mode="json"),
        }
    return {
        "folders": [str(folder) for folder in bundle_folders()],
        "models": [
            {**_short(m), "hides": [str(path) for path in found.hides.get(m.name, ())]}
            for m in found.models.values()
        ],
        "damaged": {str(path): why for path, why in found.damaged.items()},
    }


def _short(model: Model) -> dict[str, Any]:
    card = model.card
    assert model.path is not None
    summary = summary_of(card).model_dump(mode="json")
    return {
        "path": str(model.path),
        "name": model.name,
        **summary,
        "overall": summary["scores"],
        "scores": card.scores,
        "patch": list(card.patch or ()),
        "bytes": folder_bytes(model.path),
        "packaged": is_packaged(model.path),
    }


def model_lines(facts: dict[str, Any]) -> str:
    if "models" not in facts:
        return _card_lines(facts)
    lines = []
    for m in facts["models"]:
        lines += [
            f"{m['name']}  ({kind_of(m, m['bytes'])})",
            *card_lines({**m, "scores": m["overall"]}),
            f"  lies in   {'the package' if m['packaged'] else shown(m['path'])}",
            *(f"  hides     {shown(path)}" for path in m["hides"]),
        ]
    lines.append("probe  (any input, no network): class = floor(first channel) mod 8")
    lines += [f"damaged  {shown(path)}: {shown(why)}" for path, why in facts["damaged"].items()]
    return "\n".join(lines)


_OWN_LINES = (
    "border",
    "split",
    "scores",
    "compute",
    "patch_fixed",
    "why_fixed",
    "output",
    "tensors",
)


def _card_lines(card: dict[str, Any]) -> str:
    """A card as lines of a name and a value, without its tables of numbers."""
    border, training = card["border"], _part(card, "training")
    values = {
        **{k: v for k, v in card.items() if k not in _OWN_LINES},
        "bytes": None,
        "size": show_bytes(card["bytes"]) if "bytes" in card else None,
        "hides": ", ".join(card.get("hides", ())),
        "added": _added(card["added"]),
        "channels": ", ".join(_channel(c) for c in card["channels"] or ()),
        "classes": ", ".join(f"{c['id']} {c['name']}" for c in card["classes"]),
        "architecture": {k: v for k, v in card["architecture"].items() if k != WHOLE_PATCH},
        "output": _output(Output(**card["output"])),
        "tensors": _tensors(card["tensors"]),
        "takes this patch alone": card["why_fixed"],
        "sees whole patch": "; ".join(map(str, card["architecture"].get(WHOLE_PATCH, ()))),
        "seam index": _seam_index(card),
        "GFLOP per patch": round(card["compute"]["flops"] / 1e9, 2) or None,
        "border reach": border and border["reach"],
        "--overlap auto": border and border["overlap"],
        "trained": training and f"{training.get('steps')} steps, {training.get('minutes')} minutes",
    }
    pairs = [(k, shown(v)) for k, v in values.items() if v not in (None, "", [], {})]
    return "\n".join([rows(pairs), *score_lines(card)])


def _channel(channel: dict[str, Any] | str) -> str:
    """``red (B4, SR_B4) reflectance``."""
    if isinstance(channel, str):
        return channel
    aliases = f" ({', '.join(channel['aliases'])})" if channel["aliases"] else ""
    return f"{channel['name']}{aliases}" + (
        f" {channel['quantity']}" if channel["quantity"] else ""
    )


def _output(output: Output) -> str | None:
    """What the output of a network means, where it is not a probability per class that together make one."""
    if output == AS_BEFORE:
        return None
    classes = f"{output.gives} of {output.classes} classes, blended as {output.blend}"
    rule = f"; the {output.rule} above {output.threshold:g} is the label"
    shrink = f"; {output.shrink} voxels smaller per side" if output.shrink else ""
    return classes + (rule if output.classes == "independent" else "") + shrink


def _tensors(tensors: dict[str, str] | None) -> str:
    return ", ".join(f"{k} {v}" for k, v in (tensors or {}).items() if v).replace("_", " ")


def _added(added: Any) -> str:
    """Where a bundle of the user came from."""
    if not isinstance(added, dict):
        return ""
    from_index = f", by {added['index']}" if added.get("index") else ""
    return f"{added.get('added')} from {added.get('source')}{from_index}"


def _part(card: dict[str, Any], part: str) -> dict[str, Any]:
    """A part of the scores, which cards from elsewhere may have in other words."""
    scores = card["scores"].get(part)
    return scores if isinstance(scores, dict) else {}


def _seam_index(card: dict[str, Any]) -> float | None:
    """As measured on the test part, else on the validation part (see ``sliding_window.seams``)."""
    measured = (_part(card, part).get("seams") for part in ("test", "validation"))
    found = (s.get("index") for s in measured if isinstance(s, dict))
    return next((index for index in found if index is not None), None)


def score_lines(card: dict[str, Any]) -> list[str]:
    """The scores of a trained bundle on each held-out part, with 95 % intervals where it has them."""
    lines = []
    for part in ("validation", "test"):
        scores = _part(card, part)
        try:
            lines += _lines_of(part, scores) if "overall" in scores else []
        except (KeyError, TypeError, AttributeError, ValueError):  # of a card from elsewhere
            lines.append(f"{part}: {shown(scores)}")
    return lines


def _lines_of(part: str, scores: dict[str, Any]) -> list[str]:
    overall, classes = scores["overall"], scores["classes"]
    return [
        f"{part}: accuracy {interval_text(overall['accuracy'])}, "
        f"mean Dice {interval_text(overall['mean_dice'])}  ({shown(scores['measured_on'])})",
        *(f"  {shown(name)}: Dice {interval_text(row['dice'])}" for name, row in classes.items()),
    ]


def interval_text(number: dict[str, Any]) -> str:
    """A number of ``metrics.summarise`` as ``mean [low, high]``."""
    if number["mean"] is None:
        return "undefined"
    if number["low"] is None:
        return f"{number['mean']:.4f}"
    return f"{number['mean']:.4f} [{number['low']:.4f}, {number['high']:.4f}]"
