"""The folder of a bundle that is being made."""

from __future__ import annotations

import json
from pathlib import Path

from seg_batch.config.card import ModelCard
from seg_batch.core.run_files import CARD


def write_card(folder: Path, card: ModelCard) -> None:
    text = json.dumps(card.model_dump(mode="json"), indent=2, allow_nan=False)
    (folder / CARD).write_text(text + "\n", encoding="utf-8")
