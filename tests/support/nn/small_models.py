"""Small networks with lively weights."""

from __future__ import annotations

import numpy as np

from seg_batch.nn.backend import keras
from seg_batch.nn.networks.anunet import ANUNetConfig, anunet, deepest

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
