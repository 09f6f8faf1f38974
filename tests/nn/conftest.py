"""Small models with lively weights, saved once per session."""

from collections.abc import Callable
from pathlib import Path

import pytest

from seg_batch.nn.backend import keras
from seg_batch.nn.networks.anunet import ANUNetConfig
from tests.support.nn.small_models import SMALL_2D, SMALL_3D, lively


@pytest.fixture(scope="session")
def make_lively() -> Callable[[ANUNetConfig], keras.Model]:
    return lively


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of a small image model (3 channels, 4 classes) and a small volume model (1, 3)."""
    folder = tmp_path_factory.mktemp("models")
    paths = {"2d": folder / "2d.keras", "3d": folder / "3d.keras"}
    for path, config in zip(paths.values(), (SMALL_2D, SMALL_3D), strict=True):
        lively(config).save(path)
    return paths
