"""A model saved to compute in half precision is loaded in float32, with the same weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seg_batch.nn.backend import keras
from seg_batch.nn.loading import load_model


def saved(path: Path, policy: str) -> keras.Model:
    def layer(kind: type, *arguments: object, **options: object) -> keras.Layer:
        return kind(*arguments, dtype=policy, **options)

    image = keras.Input((None, None, 2))
    x = layer(keras.layers.Rescaling, 1 / 255)(image)
    x = layer(keras.layers.Conv2D, 4, 3, padding="same")(x)
    x = layer(keras.layers.BatchNormalization)(x)
    y = layer(keras.layers.ReLU)(x)
    x = keras.ops.add(layer(keras.layers.Concatenate)([x, y]), 1.0)
    head = keras.layers.Conv2D(3, 1, activation="softmax", dtype="float32")(x)
    model = keras.Model(image, head)
    model.save(path)
    return model


@pytest.mark.parametrize("policy", ["mixed_float16", "float16", "mixed_bfloat16", "float32"])
def test_it_computes_in_float32(tmp_path: Path, policy: str) -> None:
    keras.utils.set_random_seed(3)
    model = saved(tmp_path / "model.keras", policy)
    loaded = load_model(tmp_path / "model.keras")
    assert {v.dtype for v in loaded.variables} == {"float32"}
    assert {layer.compute_dtype for layer in loaded.layers if layer.weights} == {"float32"}
    for mine, theirs in zip(loaded.get_weights(), model.get_weights(), strict=True):
        assert np.array_equal(mine, theirs.astype(np.float32))
    exact = saved(tmp_path / "exact.keras", "float32")
    exact.set_weights(loaded.get_weights())
    x = np.random.default_rng(0).uniform(0, 255, (1, 8, 8, 2)).astype(np.float32)
    assert np.allclose(loaded(x), exact(x), atol=1e-6)
