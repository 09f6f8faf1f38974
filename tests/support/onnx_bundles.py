"""Bundles of small ONNX networks, channels first."""

from pathlib import Path
from typing import Any

from seg_batch.config.card import ModelCard
from seg_batch.core.files import sha256
from tests.support.nn.onnx_models import saved, unet


def make_onnx_bundle(folder: Path, rank: int = 2, channels: int = 3, **card: Any) -> Path:
    """A U-Net of random weights and three classes, whose file gives logits; sides and batch are open."""
    folder.mkdir()
    path = saved(unet(rank=rank, channels=channels, outputs=3), folder / "model.onnx")
    side = 32 if rank == 2 else 16
    fields: dict[str, Any] = {
        "name": folder.name,
        "kind": "raster" if rank == 2 else "volume",
        "rank": rank,
        "channels": tuple(f"c{i}" for i in range(channels)),
        "classes": [{"id": i, "name": f"k{i}"} for i in range(3)],
        "patch": (side,) * rank,
        "overlap": (side // 4,) * rank,
        "normalisation": {"kind": "source"},
        "format": "onnx",
        "tensors": {"layout": "channels_first", "input": "x", "output": "y"},
        "output": {"gives": "logits"},
        "weights_sha256": sha256(path),
    }
    (folder / "card.json").write_text(ModelCard(**{**fields, **card}).model_dump_json())
    return folder
