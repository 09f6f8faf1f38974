"""Every finding is true: with it, what is far away changes a result; without any, it does not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from seg_batch.nn.analysis.global_layers import findings
from seg_batch.nn.backend import keras
from seg_batch.nn.networks.anunet import deepest
from seg_batch.nn.networks.registry import ARCHITECTURES, build

layers, ops = keras.layers, keras.ops
type Piece = Callable[[Any], Any]


def squeeze(x: Any) -> Any:
    mean = layers.GlobalAveragePooling2D()(x)
    weight = layers.Dense(4, activation="sigmoid")(layers.Reshape((1, 1, 4))(mean))
    return layers.Multiply()([x, weight])


def attend(x: Any) -> Any:
    tokens = layers.Reshape((32 * 32, 4))(x)
    return layers.Reshape((32, 32, 4))(layers.MultiHeadAttention(1, 4)(tokens, tokens))


def flatten(x: Any) -> Any:
    row = layers.Flatten()(layers.MaxPooling2D(8)(x))
    return x + layers.Reshape((32, 32, 1))(layers.Dense(32 * 32)(row))


def permute(x: Any) -> Any:
    return layers.Permute((3, 2, 1))(layers.Dense(32)(layers.Permute((3, 2, 1))(x)))


def recur(x: Any) -> Any:
    rows = layers.Reshape((4, 16))(layers.MaxPooling2D(8)(x))
    seen = layers.Bidirectional(layers.SimpleRNN(8, return_sequences=True))(rows)
    return layers.UpSampling2D(8)(layers.Reshape((4, 4, 4))(seen))


FAR: dict[str, tuple[Piece, str]] = {
    "instance": (layers.GroupNormalization(groups=-1), "instance normalisation"),
    "group": (layers.GroupNormalization(groups=2), "group normalisation"),
    "layer": (layers.LayerNormalization(axis=(1, 2, 3)), "layer normalisation over space"),
    "unit": (layers.UnitNormalization(axis=(1, 2)), "layer normalisation over space"),
    "softmax": (layers.Softmax(axis=(1, 2)), "softmax over space"),
    "squeeze": (squeeze, "squeeze-and-excitation"),
    "pool": (lambda x: x + layers.GlobalMaxPooling2D(keepdims=True)(x), "global pooling"),
    "mean": (lambda x: x - ops.mean(x, axis=(1, 2), keepdims=True), "reduction over space"),
    "attention": (attend, "attention"),
    "flatten": (flatten, "flattening"),
    "permute": (permute, "permutation"),
    "recurrence": (recur, "recurrence"),
    "inside": (
        lambda x: keras.Sequential([layers.Conv2D(4, 1), layers.GroupNormalization(1)])(x),
        "group normalisation",
    ),
}
NEAR: dict[str, Piece] = {
    "batch": layers.BatchNormalization(),
    "channels": layers.LayerNormalization(),
    "softmax": layers.Softmax(),
    "dense": layers.Dense(4),
    "mean of channels": lambda x: ops.mean(x, axis=-1, keepdims=True) * x,
    "turned": lambda x: layers.Permute((2, 1, 3))(layers.Permute((2, 1, 3))(x)),
    "enlarged": lambda x: layers.UpSampling2D(2)(layers.Resizing(16, 16)(x)),
    "inside": lambda x: keras.Sequential([layers.Conv2D(4, 1), layers.MaxPooling2D(1)])(x),
}


def model_of(piece: Piece) -> keras.Model:
    keras.utils.set_random_seed(1)
    image = keras.Input((32, 32, 2))
    return keras.Model(image, piece(layers.Conv2D(4, 3, padding="same")(image)))


def moves_far(model: keras.Model, sides: tuple[int, ...] = (32, 32)) -> bool:
    """Whether the first rows of the result change when the other half of the image does."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(1, *sides, model.inputs[0].shape[-1])).astype(np.float32)
    other = x.copy()
    other[:, -sides[0] // 2 :] += rng.normal(1, 2, size=other[:, -sides[0] // 2 :].shape)
    one, two = (np.asarray(model(v))[:, :4] for v in (x, other))
    return bool(np.abs(one - two).max() > 1e-7)


@pytest.mark.parametrize("name", FAR)
def test_a_finding_is_true(name: str) -> None:
    piece, kind = FAR[name]
    model = model_of(piece)
    found = findings(model)
    assert kind in {one.kind for one in found}
    assert all(one.line.startswith(f"{one.layer} ({one.kind}): ") for one in found)
    assert moves_far(model)


@pytest.mark.parametrize("name", NEAR)
def test_where_nothing_is_found_nothing_far_is_seen(name: str) -> None:
    model = model_of(NEAR[name])
    assert findings(model) == ()
    assert not moves_far(model)


def test_a_fixed_size_is_found_where_patches_may_have_another() -> None:
    """The same pixels in a larger patch become something else."""
    image = keras.Input((None, None, 1))
    model = keras.Model(image, layers.Resizing(16, 16)(image))
    (found,) = findings(model)
    assert found.kind == "resizing to a fixed size"
    x = np.random.default_rng(5).normal(size=(1, 64, 64, 1)).astype(np.float32)
    small, large = (np.asarray(model(part))[0, :4, :4] for part in (x[:, :32, :32], x))
    assert np.abs(small - large).max() > 1e-3


def test_a_layer_inside_a_model_is_named_with_its_model() -> None:
    inside = keras.Sequential([layers.GroupNormalization(1, name="norm")], name="block")
    assert [one.layer for one in findings(model_of(inside))] == ["block/norm"]


@pytest.mark.full
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_networks_by_name(arch: str) -> None:
    """Two levels see less than half of the patch, if they do not see all of it."""
    config = ARCHITECTURES[arch].config
    rank, filters = config.ranks[0], (4, 4)
    options = {"reduction": 1} if arch == "unet_se" else {}
    model = build(arch, rank=rank, channels=2, classes=3, filters=filters, **options)
    model = deepest(model)
    squeezes = {one.kind for one in findings(model)}
    if arch == "unet_se":
        assert squeezes == {"squeeze-and-excitation"}
    if arch in ("encoder_unet", "deeplabv3plus"):
        return  # a backbone sees further than a patch of this size
    assert bool(squeezes) == moves_far(model, (128, 16, 16)[:rank])
