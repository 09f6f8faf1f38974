"""Scenes of satellites through the whole of a prediction: the same bytes in any blocks, and what a run is known by."""

from pathlib import Path

import numpy as np
import pytest
import rasterio

from seg_batch.config.card import ModelCard
from tests.support.io.satellites import write_sentinel2

CLASSES = ("dark", "bright")


def _card(**more: object) -> ModelCard:
    return ModelCard.model_validate(
        {
            "name": "threshold", "rank": 2, "patch": [32, 32], "channels": ["swir16", "red"], "classes": [*CLASSES],
            "background": None, "format": "keras", "weights_sha256": "0" * 64, **more,
        }
    )  # fmt: skip


def _bright(patches: np.ndarray) -> np.ndarray:
    share = (patches[..., :1] > patches[..., 1:2]).astype(np.float32)
    return np.concatenate([1 - share, share], -1)


@pytest.fixture(scope="module")
def safe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sentinel2(tmp_path_factory.mktemp("scene"))[0]


def _labels(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read(1)
