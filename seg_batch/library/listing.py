"""What lists and indexes tell of a bundle."""

from __future__ import annotations

import os
from math import isfinite
from pathlib import Path
from typing import Any

from seg_batch.config.bundle_index import CardSummary
from seg_batch.config.card import ModelCard
from seg_batch.core.resources import BUNDLES

PARTS = ("test", "validation")
MEASURES = ("accuracy", "mean_dice")


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
