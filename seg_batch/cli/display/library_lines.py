"""What adding, removing and publishing bundles did, and what an index has, as lines of text."""

from __future__ import annotations

from typing import Any

from seg_batch.core.units import counted_plainly, show_bytes, shown


def kind_of(card: dict[str, Any], size: int | None) -> str:
    """``2-D raster, optical, onnx, 2.6 MiB, CC0``."""
    rank = f"{card['rank']}-D " if card["rank"] else ""
    parts = (
        f"{rank}{card['kind']}",
        card["modality"],
        card["format"],
        f"{card['networks']} networks" if card["networks"] > 1 else None,
        None if size is None else show_bytes(size),
        card["licence"] or "no licence stated",
    )
    return ", ".join(shown(part) for part in parts if part)


def card_lines(card: dict[str, Any]) -> list[str]:
    """What a bundle is for, in lines of a name and a value."""
    values = {
        "": card["description"],
        "channels": ", ".join(card["channels"]) or "any",
        "classes": ", ".join(card["classes"]),
        "scores": scores_text(card["scores"]),
    }
    return [
        f"  {name:<10}{shown(text)}" if name else f"  {shown(text)}"
        for name, text in values.items()
        if text
    ]


def scores_text(scores: dict[str, dict[str, float]]) -> str:
    """``accuracy 0.7830, mean Dice 0.4510 (test)``, the first part that has any."""
    for part, numbers in scores.items():
        words = (f"{name.replace('_dice', ' Dice')} {value:.4f}" for name, value in numbers.items())
        return f"{', '.join(words)} ({part})"
    return ""


def added_lines(facts: dict[str, Any]) -> list[str]:
    card, lines = facts["card"], []
    if facts["sha256"]:
        size = show_bytes(facts["archive_bytes"])
        lines.append(f"{shown(facts['source'])}: {size}, SHA-256 {facts['sha256']}")
    if facts.get("index"):
        lines.append(f"{shown(facts['index'])}: SHA-256 {facts['index_sha256']}")
    if facts["left_out"]:
        names = ", ".join(facts["left_out"][:5]) + (", ..." if len(facts["left_out"]) > 5 else "")
        lines.append(f"left out, since bundles have no such files: {shown(names)}")
    lines += [f"{facts['name']}  ({kind_of(card, facts['bytes'])})", *card_lines(card)]
    if facts["has_test"]:
        lines.append(f"it has a test patch: segbatch models check {facts['name']} runs it here")
    lines += [f"the index says otherwise: {shown(text)}" for text in facts["otherwise"]]
    lines += [f"it hides {shown(path)}" for path in facts["hides"]]
    lines += [f"it is hidden by {shown(path)}, which comes first" for path in facts["hidden_by"]]
    return [*lines, facts["path"]]


def removed_lines(facts: dict[str, Any]) -> str:
    what = "a link" if facts["link"] else show_bytes(facts["bytes"])
    return f"removed {shown(facts['path'])} ({what})"


def index_lines(facts: dict[str, Any]) -> list[str]:
    lines = []
    for entry in facts["bundles"]:
        version = f" {shown(entry['version'])}" if entry["version"] else ""
        lines += [f"{entry['name']}{version}  ({kind_of(entry['card'], entry['bytes'])})"]
        lines += card_lines(entry["card"])
    return [*lines, _index_line(facts)]


def published_lines(facts: dict[str, Any]) -> list[str]:
    lines = [
        f"{entry['url']}  {show_bytes(entry['bytes'])}, SHA-256 {entry['sha256']}"
        for entry in facts["bundles"]
    ]
    if facts["left_out"]:
        lines.append(f"left out: {shown(', '.join(facts['left_out']))}")
    return [
        *lines,
        _index_line(facts),
        f"users pin it: segbatch models add NAME --index URL --index-sha256 {facts['sha256']}",
    ]


def _index_line(facts: dict[str, Any]) -> str:
    name = f"{shown(facts['name'])}, " if facts["name"] else ""
    count = counted_plainly(len(facts["bundles"]), "bundle")
    return f"{shown(facts['path'])}: {name}{count}, SHA-256 {facts['sha256']}"
