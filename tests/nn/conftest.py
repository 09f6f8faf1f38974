"""Small models with lively weights, saved once per session."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from seg_batch.nn.anunet import ANUNetConfig, anunet, deepest
from seg_batch.nn.backend import keras

SMALL_2D = ANUNetConfig(rank=2, channels=3, classes=4, filters=(8, 16, 32))
SMALL_3D = ANUNetConfig(rank=3, channels=1, classes=3, filters=(4, 8, 16))


def lively(config: ANUNetConfig, seed: int = 0) -> keras.Model:
    """A model whose batch normalisations do something: fresh ones are almost the identity."""
    keras.utils.set_random_seed(seed)
    model = deepest(anunet(config))
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            n = layer.gamma.shape[0]
            gamma, variance = rng.uniform(0.5, 1.5, (2, n))
            beta, mean = rng.normal(0.0, 0.2, (2, n))
            layer.set_weights([gamma, beta, mean, variance])
    return model


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
