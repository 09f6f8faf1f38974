"""Bundles of small networks with random weights."""

from __future__ import annotations

from pathlib import Path

from seg_batch.config.card import ClassInfo, ModelCard, Normalisation
from seg_batch.core.files import sha256


def make_bundle(folder: Path, rank: int, channels: int, seed: int = 5) -> Path:
    from seg_batch.nn.backend import keras
    from seg_batch.nn.networks.anunet import ANUNetConfig, anunet, deepest

    keras.utils.set_random_seed(seed)
    model = deepest(anunet(ANUNetConfig(rank, channels, 3, (4, 8, 16))))
    folder.mkdir()
    model.save(folder / "model.keras")
    side = 64 if rank == 2 else 16
    card = ModelCard(
        name=folder.name,
        kind="raster" if rank == 2 else "volume",
        rank=rank,
        channels=tuple(f"c{i}" for i in range(channels)),
        classes=tuple(ClassInfo(id=i, name=f"k{i}", colour=(i, i, i)) for i in range(3)),
        patch=(side,) * rank,
        overlap=(side // 4,) * rank,
        normalisation=Normalisation(kind="source"),
        weights_sha256=sha256(folder / "model.keras"),
    )
    (folder / "card.json").write_text(card.model_dump_json())
    return folder
