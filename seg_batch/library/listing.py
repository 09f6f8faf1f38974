"""All bundles in the folders where they are looked for, the hidden and the damaged ones too."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from seg_batch.config.bundle_index import CardSummary
from seg_batch.config.card import ModelCard
from seg_batch.core.errors import SegbatchError
from seg_batch.core.resources import BUNDLES
from seg_batch.core.run_files import CARD
from seg_batch.inference.bundles import Model, bundle_folders, model_in

PARTS = ("test", "validation")
MEASURES = ("accuracy", "mean_dice")


@dataclass(frozen=True)
class Listing:
    """The bundles by name; ``hides``: folders of the same name that are looked at later; ``damaged``: folders, and
    what is wrong with their cards."""

    models: dict[str, Model] = field(default_factory=dict)
    hides: dict[str, list[Path]] = field(default_factory=dict)
    damaged: dict[Path, str] = field(default_factory=dict)

    def hides_of(self, model: Model) -> list[Path]:
        """The folders that this bundle hides; none for another of its name, which was named by its path."""
        first = self.models.get(model.name)
        is_first = first and first.path and model.path and first.path.samefile(model.path)
        return self.hides.get(model.name, []) if is_first else []


def listing() -> Listing:
    found = Listing()
    for folder in bundle_folders():
        for card in sorted(folder.glob(f"*/{CARD}")):
            path = card.parent
            if path.name in found.models:
                found.hides.setdefault(path.name, []).append(path)
                continue
            try:
                found.models[path.name] = model_in(path)
            except SegbatchError as error:
                found.damaged[path] = error.message
    return found


def is_packaged(path: Path) -> bool:
    return path.is_relative_to(BUNDLES)


def folder_bytes(path: Path) -> int:
    return sum(
        Path(folder, name).lstat().st_size for folder, _, names in os.walk(path) for name in names
    )


def summary_of(card: ModelCard) -> CardSummary:
    """What lists and indexes tell of a bundle."""
    return CardSummary(
        kind=card.kind,
        rank=card.rank,
        modality=card.modality,
        format=card.format,
        networks=1 + len(card.folds_sha256),
        channels=card.channel_names or (),
        classes=tuple(c.name for c in card.classes),
        licence=card.licence,
        description=card.description,
        scores={part: numbers for part in PARTS if (numbers := _overall(card.scores, part))},
    )


def _overall(scores: dict[str, Any], part: str) -> dict[str, float]:
    """The means over a held-out part; none where a card from elsewhere has other words for them."""
    try:
        overall = scores[part]["overall"]
        means = {name: overall[name]["mean"] for name in MEASURES}
    except (KeyError, TypeError, IndexError):
        return {}
    return {
        name: float(mean)
        for name, mean in means.items()
        if isinstance(mean, int | float) and isfinite(mean)
    }
