"""Keras models as other people build them: none has a layer name of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.nn.backend import keras

layers = keras.layers


def by_place(channels: int = 3, classes: int = 4, rank: int = 2, **head: Any) -> Any:
    """Sees 5 voxels far and is not the same everywhere in a patch: zero padding shows at its sides."""
    conv = getattr(layers, f"Conv{rank}D")
    image = layers.Input((None,) * rank + (channels,))
    x = conv(6, 5, padding="same", activation="tanh", kernel_initializer="he_normal")(image)
    head = {"activation": "softmax", **head}
    return keras.Model(image, conv(classes, 1, kernel_initializer="he_normal", **head)(x))


def strided_encoder(channels: int = 2, classes: int = 3, side: int | None = None) -> Any:
    """A ResNet-like encoder, stride 8, normalised, and up in one step; in a nested model."""
    patch = layers.Input((None, None, channels))
    x = layers.Rescaling(1 / 255)(patch)
    for width in (4, 8, 8):
        y = layers.SeparableConv2D(width, 3, strides=2, padding="same", use_bias=False)(x)
        y = layers.BatchNormalization()(y)
        short = layers.Conv2D(width, 1, strides=2, padding="same")(x)
        x = layers.Activation("swish")(layers.add([y, short]))
    encoder = keras.Model(patch, x, name="backbone")
    image = layers.Input((side, side, channels))
    y = layers.UpSampling2D(8, interpolation="bilinear")(encoder(image))
    y = layers.Conv2D(classes, 3, padding="same", kernel_initializer="he_normal")(y)
    model = keras.Model(image, layers.Softmax()(y))
    for weight in model.weights:
        if "moving" in weight.path:
            weight.assign(np.random.default_rng(1).uniform(0.5, 2, weight.shape))
    return model


def saved(model: Any, path: Path) -> Path:
    model.save(path)
    return path
