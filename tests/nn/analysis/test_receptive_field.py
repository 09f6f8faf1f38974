"""The receptive field measured: which input voxels light an output voxel."""

from typing import Any

import numpy as np
import pytest

from seg_batch.nn.analysis.receptive_field import receptive_field
from seg_batch.nn.backend import keras
from seg_batch.nn.networks.anunet import deepest
from seg_batch.nn.networks.registry import build

layers = keras.layers


def positive(model: keras.Model) -> keras.Model:
    """The same graph where nothing cancels and nothing is added: kernels above 0, no bias, sums for
    products, probabilities left as they are. An output is then 0 if all that it sees is 0."""

    def copy(layer: Any) -> Any:
        config = layer.get_config()
        if "activation" in config:
            config["activation"] = "linear"
        made = layers.Add if isinstance(layer, layers.Multiply) else type(layer)
        return made.from_config(config)

    found = keras.models.clone_model(model, clone_function=copy)
    for layer in found.layers:
        if not isinstance(layer, layers.BatchNormalization):
            weights = [np.asarray(weight) for weight in layer.get_weights()]
            layer.set_weights([np.full(w.shape, w.ndim > 1, np.float32) / 9 for w in weights])
    return found


def measured(model: keras.Model, sides: tuple[int, ...], axis: int, period: int) -> int:
    """The widest range of input voxels along `axis` that any of `period` output voxels depends on:
    as many images as there are voxels, each lit at one of them."""
    side = sides[axis]
    lit = np.eye(side, dtype=np.float32).reshape(
        side, *(side if k == axis else 1 for k in range(len(sides))), 1
    )
    x = np.broadcast_to(lit, (side, *sides, 1))
    linear = positive(model)
    parts = [np.asarray(linear(part)) for part in np.array_split(x, 8)]
    y = np.concatenate(parts)
    others = tuple(k for k in range(1, y.ndim) if k != 1 + axis)
    seen = y.max(others) > 0  # (input voxel, output voxel)
    middle, widest = seen.shape[1] // 2, 0
    for k in range(middle, middle + period):
        found = np.flatnonzero(seen[:, k])
        assert 0 < found[0] <= found[-1] < side - 1, "the field does not fit into this patch"
        widest = max(widest, int(found[-1] - found[0]) + 1)
    return widest


def layered(*made: Any, rank: int = 2, side: int | None = None) -> keras.Model:
    x = image = keras.Input((side,) * rank + (1,))
    for layer in made:
        x = layer(x)
    return keras.Model(image, x)


@pytest.mark.parametrize(
    ("made", "field"),
    [
        ([layers.Conv2D(1, 3, padding="same")], 3),
        ([layers.Conv2D(1, 3, padding="same", dilation_rate=2)], 5),
        ([layers.Conv2D(1, 3, padding="same")] * 2, 5),  # one layer, twice
        ([layers.Conv2D(1, 5), layers.ReLU(), layers.Cropping2D(2)], 5),
        ([layers.ZeroPadding2D(2), layers.DepthwiseConv2D(5)], 5),
        ([layers.MaxPooling2D(2), layers.Conv2D(1, 3, padding="same")], 6),
        ([layers.Conv2D(1, 3, strides=2, padding="same"), layers.SeparableConv2D(1, 3)], 7),
        ([layers.AveragePooling2D(3, strides=2, padding="same"), layers.UpSampling2D(2)], 3),
        ([layers.AveragePooling2D(2), layers.UpSampling2D(2, interpolation="bilinear")], 4),
        ([layers.AveragePooling2D(2), layers.Conv2DTranspose(1, 2, strides=2)], 2),
        ([layers.AveragePooling2D(2), layers.Conv2DTranspose(1, 3, strides=2, padding="same")], 4),
        ([layers.AveragePooling2D(2), layers.Conv2DTranspose(1, 5, strides=2)], 6),
        ([layers.Conv2DTranspose(1, 3, padding="same")], 3),
        ([layers.Dense(4), layers.LayerNormalization(), layers.Dropout(0.1)], 1),
        ([keras.Sequential([layers.Conv2D(1, 3), layers.Conv2D(1, 3)]), layers.Conv2D(1, 3)], 7),
    ],
)
def test_layers_by_hand(made: list[Any], field: int) -> None:
    assert receptive_field(layered(*made)) == (field, field)


def test_axes_are_told_apart() -> None:
    model = layered(
        layers.Conv3D(1, (1, 3, 5), padding="same"), layers.MaxPooling3D((1, 2, 2)), rank=3
    )
    assert receptive_field(model) == (1, 4, 6)


def test_the_wider_of_two_branches_counts() -> None:
    image = keras.Input((None, None, 1))
    near, far = layers.Conv2D(1, 3, padding="same"), layers.Conv2D(1, 9, padding="same")
    assert receptive_field(keras.Model(image, near(image) + far(image))) == (9, 9)


def test_what_sees_everything_or_can_not_be_told_is_none() -> None:
    image = keras.Input((None, None, 2))
    mean = layers.GlobalAveragePooling2D(keepdims=True)(image)
    assert receptive_field(keras.Model(image, image * mean)) == (None, None)
    turned = layers.Permute((2, 1, 3))(image)
    assert receptive_field(keras.Model(image, turned)) == (None, None)
    whole = layered(layers.Conv2D(1, 31, padding="same"), side=16)
    assert receptive_field(whole) == (None, None)
    sides = layers.Concatenate(axis=1)([image, image])
    assert receptive_field(keras.Model(image, sides)) == (None, 1)


CASES: list[tuple[str, tuple[int, ...], dict[str, Any]]] = [
    ("unet", (2, 2, 2), {}),
    ("anunet", (2, 2, 2), {}),
    ("unet_strided", (2, 2, 2), {}),
    ("unet_lrelu", (2, 2, 2), {"finer": 3}),
    ("unet_xception", (2, 2, 2), {}),
]


@pytest.mark.full
@pytest.mark.parametrize(("arch", "filters", "options"), CASES)
def test_networks_as_measured(arch: str, filters: tuple[int, ...], options: dict[str, Any]) -> None:
    model = deepest(build(arch, rank=2, channels=1, classes=2, filters=filters, **options))
    period = 8 * options.get("finer", 1)
    y, x = receptive_field(model)
    assert y == x
    assert measured(model, (192, 16), 0, period) == y


@pytest.mark.full
def test_a_volume_as_measured() -> None:
    model = build("unet3d", rank=3, channels=1, classes=2, filters=(2, 2))
    assert receptive_field(model) == (measured(model, (8, 48, 8), 1, 4),) * 3
