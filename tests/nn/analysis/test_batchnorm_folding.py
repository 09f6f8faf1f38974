"""The folded model against the plain one (law 10: a fast path ships with its proof)."""

import numpy as np
import pytest

from seg_batch.nn.analysis.batchnorm_folding import fold_batchnorm
from seg_batch.nn.backend import keras
from seg_batch.nn.networks.anunet import ANUNetConfig

pytestmark = pytest.mark.full  # left to make test: whole runs, or many networks


def norms(model: keras.Model) -> int:
    return sum(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers)


@pytest.mark.parametrize(("kind", "shape"), [("2d", (2, 16, 24, 3)), ("3d", (1, 8, 12, 16, 1))])
def test_folded_model_equals_the_plain_one(models, kind: str, shape: tuple[int, ...]) -> None:  # type: ignore[no-untyped-def]
    plain = keras.models.load_model(models[kind], compile=False)
    before = [np.array(w) for w in plain.get_weights()]
    folded = fold_batchnorm(plain)
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    np.testing.assert_allclose(folded(x), plain(x), atol=1e-5)
    assert norms(plain) > 0
    assert norms(folded) == 0
    for old, new in zip(before, plain.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_pruned_and_supervised_models_fold_too(make_lively) -> None:  # type: ignore[no-untyped-def]
    from seg_batch.nn.networks.anunet import anunet, prune

    model = anunet(ANUNetConfig(2, 1, 1, (4, 8, 12)))
    x = np.random.default_rng(1).normal(size=(1, 8, 8, 1)).astype(np.float32)
    assert norms(fold_batchnorm(prune(model, 1))) == 0
    for ours, theirs in zip(fold_batchnorm(model)(x), model(x), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_convolution_read_by_others_keeps_its_normalisation() -> None:
    image = keras.Input((8, 8, 1))
    shared = keras.layers.Conv2D(4, 3, padding="same")(image)
    active = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    total = keras.layers.Add()(
        [
            shared,
            keras.layers.BatchNormalization()(shared),
            keras.layers.BatchNormalization()(active),
        ]
    )
    model = keras.Model(image, total)
    folded = fold_batchnorm(model)
    x = np.random.default_rng(1).normal(size=(1, 8, 8, 1)).astype(np.float32)
    np.testing.assert_allclose(folded(x), model(x), atol=1e-6)
    assert norms(folded) == 2


def test_without_bias_scale_and_centre() -> None:
    image = keras.Input((8, 8, 1))
    conv = keras.layers.Conv2DTranspose(4, 2, strides=2, use_bias=False)(image)
    model = keras.Model(image, keras.layers.BatchNormalization(scale=False, center=False)(conv))
    model.layers[-1].set_weights([np.full(4, 0.3), np.full(4, 2.0)])
    folded = fold_batchnorm(model)
    x = np.random.default_rng(1).normal(size=(1, 8, 8, 1)).astype(np.float32)
    np.testing.assert_allclose(folded(x), model(x), atol=1e-6)
    assert norms(folded) == 0


def test_layers_that_convolve_channels_alone() -> None:
    image = keras.Input((8, 8, 3))
    x = keras.layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False)(image)
    x = keras.layers.SeparableConv2D(4, 3)(keras.layers.BatchNormalization()(x))
    model = keras.Model(image, keras.layers.BatchNormalization()(x))
    rng = np.random.default_rng(2)
    model.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in model.get_weights()])
    folded = fold_batchnorm(model)
    x = rng.normal(size=(1, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(folded(x), model(x), rtol=1e-4)
    assert norms(folded) == 0


@pytest.mark.full
def test_other_policy_leaves_the_head_in_float32(models) -> None:  # type: ignore[no-untyped-def]
    folded = fold_batchnorm(keras.models.load_model(models["2d"], compile=False), "mixed_bfloat16")
    assert folded.get_layer("x_0_0_conv1").compute_dtype == "bfloat16"
    assert folded.get_layer("head_2").compute_dtype == "float32"
