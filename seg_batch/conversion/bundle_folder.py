"""The folder of a bundle that is being made."""

from __future__ import annotations

from pathlib import Path

from seg_batch.config.card import ModelCard
from seg_batch.core.files import write_json
from seg_batch.core.run_files import CARD


def write_card(folder: Path, card: ModelCard) -> None:
    write_json(folder / CARD, card.model_dump(mode="json"), for_people=True)
