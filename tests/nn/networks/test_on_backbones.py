"""The networks on backbones: sizes by hand, saving, folding, learning, what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_batch.core.errors import InputError
from seg_batch.nn.analysis.batchnorm_folding import fold_batchnorm
from seg_batch.nn.analysis.flops import activation_bytes, forward_flops
from seg_batch.nn.backend import keras, tf
from seg_batch.nn.loading import load_model
from seg_batch.nn.losses.build import build_loss
from seg_batch.nn.networks.channel_fitting import Names
from seg_batch.nn.networks.registry import build, configuration, multiple, part_of
from seg_batch.nn.training.fit import loss_of
from seg_batch.nn.training.step import Trainer
from seg_batch.nn.training.transfer import new_model, with_source_weights
from tests.support.nn.squares import recipe

LIGHT = "mobilenet_v3_small_minimalistic"
# Name, filters, options, what sides are multiples of.
CASES: list[tuple[str, tuple[int, ...], dict[str, Any], int]] = [
    ("encoder_unet", (4, 6, 8), {"backbone": LIGHT}, 8),
    ("mobile_unet", (4, 6, 8, 10, 12), {}, 32),
    ("deeplabv3plus", (8, 12), {"backbone": LIGHT, "rates": [2, 3], "image_level": True}, 16),
]
EVERY = pytest.mark.parametrize("arch", [case[0] for case in CASES])
CASE = {case[0]: case for case in CASES}


def lively(arch: str, channels: int = 4) -> keras.Model:
    """A small one whose normalisations do something."""
    _, filters, options, _ = CASE[arch]
    keras.utils.set_random_seed(0)
    model = build(arch, rank=2, channels=channels, classes=3, filters=filters, **options)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.7, 1.3, w.shape) for w in layer.get_weights()])
    return model


@pytest.fixture(scope="module")
def models() -> Callable[[str], keras.Model]:
    made: dict[str, keras.Model] = {}
    return lambda arch: made.setdefault(arch, made.get(arch) or lively(arch))


def image(y: int, x: int, channels: int = 4) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(2, y, x, channels)).astype(np.float32)


def norm(before: int, width: int, size: int) -> int:
    """Parameters of a convolution without bias and its batch normalisation."""
    return before * size**2 * width + 4 * width


def light(before: int, width: int) -> int:
    """The same of a separable one of 3 x 3."""
    return before * 9 + before * width + 4 * width


def parameters(model: keras.Model, part: str) -> int:
    return sum(
        layer.count_params()
        for layer in model.layers
        if layer.weights and part_of(layer.name) == part
    )


# -- sizes


def backbone_of(name: str, channels: int = 4) -> keras.Model:
    """keras.applications' own."""
    options = {"include_top": False, "weights": None, "include_preprocessing": False}
    shape = keras.Input((None, None, channels))
    return getattr(keras.applications, name)(**options, input_tensor=shape, minimalistic=True)


@pytest.mark.full
def test_parameters_are_those_of_the_backbone_and_of_the_decoder_by_hand(
    models: Callable[[str], keras.Model],
) -> None:
    """Taps of 16, 64, 72, 144 and 576 channels; the decoder from 576 up, two units per level."""
    model, whole = models("mobile_unet"), backbone_of("MobileNetV3Small").count_params()
    assert parameters(model, "encoder") == whole
    units = [(576 + 288, 12), (12 + 96, 10), (10 + 72, 8), (8 + 16, 6), (6, 4)]
    decoder = sum(light(before, width) + light(width, width) for before, width in units)
    assert parameters(model, "decoder") == decoder
    assert model.count_params() == whole + decoder + (4 + 1) * 3


@pytest.mark.full
def test_parameters_of_aspp_and_its_decoder_by_hand(models: Callable[[str], keras.Model]) -> None:
    """A 1x1 branch, two with rates, the image level, 1x1 over all of them; 48 from stride 4."""
    model, whole = models("deeplabv3plus"), backbone_of("MobileNetV3Small").count_params()
    assert parameters(model, "encoder") == whole
    pyramid = 2 * norm(576, 12, 1) + 2 * norm(576, 12, 3) + norm((3 + 1) * 12, 12, 1)
    decoder = norm(72, 48, 1) + norm(48 + 12, 8, 3) + norm(8, 8, 3)
    assert parameters(model, "decoder") == pyramid + decoder
    assert parameters(model, "head") == (8 + 1) * 3


# -- what they compute


@pytest.mark.full
@EVERY
def test_probabilities_on_any_multiple_of_the_stride(
    models: Callable[[str], keras.Model], arch: str
) -> None:
    _, filters, options, sides = CASE[arch]
    assert multiple(arch, filters, options) == sides
    x = image(sides, 3 * sides)
    y = np.asarray(models(arch)(x))
    assert (y.shape, y.dtype) == ((*x.shape[:3], 3), np.float32)
    np.testing.assert_allclose(y.sum(-1), 1.0, atol=1e-5)


@pytest.mark.full
@EVERY
def test_a_saved_model_needs_nothing_but_keras(
    models: Callable[[str], keras.Model], arch: str, tmp_path: Path
) -> None:
    model = models(arch)
    assert all(isinstance(operation, keras.Layer) for operation in model.operations)
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)
    model.save(tmp_path / "m.keras")
    again = load_model(tmp_path / "m.keras")
    x = image(64, 32)
    np.testing.assert_array_equal(again(x), model(x))


@pytest.mark.full
@EVERY
def test_folded_equals_unfolded(models: Callable[[str], keras.Model], arch: str) -> None:
    """Depthwise or not, what follows a convolution goes; that of ASPP follows the image level's sum."""
    model, x = models(arch), image(64, 64)
    folded = fold_batchnorm(model)
    left = {y.name for y in folded.layers if isinstance(y, keras.layers.BatchNormalization)}
    assert left == ({"decoder_aspp_bn"} if arch == "deeplabv3plus" else set())
    np.testing.assert_allclose(folded(x), model(x), atol=1e-5)
    half = fold_batchnorm(model, "mixed_bfloat16")
    kinds = {y.name: y.compute_dtype for y in half.layers if y.weights}
    assert {kinds[name] for name in kinds if part_of(name) == "head"} == {"float32"}
    assert {kinds[name] for name in kinds if part_of(name) != "head"} == {"bfloat16"}


@pytest.mark.full
def test_costs_of_depthwise_kernels_by_hand() -> None:
    """Depthwise 3x3, stride 2, on 2 channels; then a separable one to 5, its kernels at each output."""
    x = keras.Input((None, None, 2))
    y = keras.layers.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2)(x)
    y = keras.layers.SeparableConv2D(5, 3, padding="same")(y)
    model = keras.Model(x, y)
    assert forward_flops(model, (8, 12)) == 2 * 4 * 6 * (9 * 4 + 9 * 4 + 4 * 5)


@pytest.mark.full
def test_a_separable_decoder_costs_less(models: Callable[[str], keras.Model]) -> None:
    light = models("mobile_unet")
    filters = CASE["mobile_unet"][1]
    options = {"backbone": LIGHT, "separable": False}
    full = build("encoder_unet", rank=2, channels=4, classes=3, filters=filters, **options)
    assert forward_flops(light, (64, 64)) < 0.6 * forward_flops(full, (64, 64))
    assert activation_bytes(light, (64, 64)) > 0


@pytest.mark.full
def test_image_level_pooling_is_what_the_paper_puts_beside_the_branches() -> None:
    """Added after its part of the last 1x1 convolution, as concatenating the pooled map would give."""
    model = lively("deeplabv3plus")
    names = ["decoder_aspp_concat", "decoder_aspp_mean_relu", "decoder_aspp_add"]
    joined, mean, found = keras.Model(
        model.inputs[0], [model.get_layer(name).output for name in names]
    )(image(64, 32))
    spread = np.broadcast_to(mean, (*joined.shape[:3], mean.shape[-1]))
    kernels = [
        np.asarray(model.get_layer(f"decoder_aspp_{name}").kernel)[0, 0]
        for name in ("conv", "mean_out")
    ]
    whole = np.concatenate([joined, spread], -1) @ np.concatenate(kernels)
    np.testing.assert_allclose(found, whole, atol=1e-4)


# -- learning


def truth_of(x: np.ndarray) -> np.ndarray:
    return (x[..., 0] > 0).astype(np.int32) + (x[..., 1] > 1)


@pytest.mark.full
@EVERY
def test_a_step_lowers_the_loss(arch: str) -> None:
    model, x = lively(arch), image(32, 64)
    loss, truth = (
        build_loss([{"name": "dice"}, {"name": "cross_entropy"}], background=False),
        truth_of(x),
    )
    with tf.GradientTape() as tape:
        before = loss(truth, model(x, training=True))
    slopes = tape.gradient(before, model.trainable_variables)
    assert all(np.all(np.isfinite(slope)) for slope in slopes)
    keras.optimizers.SGD(0.01).apply_gradients(zip(slopes, model.trainable_variables, strict=True))
    assert float(loss(truth, model(x, training=True))) < float(before)


@pytest.mark.full
def test_a_frozen_encoder_is_left_alone() -> None:
    """Kernels and running averages, too; all the rest learns."""
    _, filters, options, _ = CASE["encoder_unet"]
    network = {"arch": "encoder_unet", "filters": filters, "options": options}
    how = recipe(3, 2, network=network, optimiser={"frozen_epochs": 1})
    trainer = Trainer(new_model(how), how, loss_of(how, np.full(3, 100, np.int64)))
    before, x = [y.get_weights() for y in trainer.model.layers], image(8, 16, 2)
    assert trainer(x, truth_of(x), np.ones(x.shape[:-1], bool), 0.01, 0.5, frozen=True)[1]
    changed = {
        part_of(layer.name)
        for layer, old in zip(trainer.model.layers, before, strict=True)
        if any(not np.array_equal(a, b) for a, b in zip(old, layer.get_weights(), strict=True))
    }
    assert changed == {"decoder", "head"}


@pytest.mark.full
def test_fine_tuning_fits_the_first_layer_of_a_backbone(
    models: Callable[[str], keras.Model],
) -> None:
    old, new = models("encoder_unet"), lively("encoder_unet", channels=2)
    done = with_source_weights(new, old, channels=Names("abcd", "cb"), classes=Names("xyz", "xyz"))
    assert done.lines == ("encoder_conv was fitted from 4 to 2 channels, each by its name",)
    mine, theirs = (np.asarray(m.get_layer("encoder_conv").kernel) for m in (new, old))
    np.testing.assert_array_equal(mine, theirs[..., [2, 1], :])


# -- configuration


@pytest.mark.parametrize(
    ("arch", "filters", "options", "said"),
    [
        ("encoder_unet", (4,) * 6, {}, "6 filters; give 2 to 5"),
        ("deeplabv3plus", (16, 32, 64), {}, "give two: of the decoder and of ASPP, such as [256"),
        ("deeplabv3plus", (8, 8), {"rates": [6, 6]}, "rates are (6, 6); use positive numbers"),
        ("deeplabv3plus", (8, 8), {"low": 0}, "low is 0"),
        ("encoder_unet", (4, 8), {"bakcbone": LIGHT}, "'bakcbone'; did you mean backbone?"),
        ("mobile_unet", (4, 8), {"backbone": "mobilenet"}, "did you mean mobilenet_v3_"),
    ],
)
def test_refused_in_one_line(
    arch: str, filters: tuple[int, ...], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError) as error:
        configuration(arch, filters, options)
    assert said in error.value.message
    assert "\n" not in error.value.message


@EVERY
def test_volumes_are_refused_with_what_fits(arch: str) -> None:
    with pytest.raises(InputError, match=r"rank is 3, .*use rank 2, or anunet or unet3d"):
        configuration(arch, CASE[arch][1], rank=3)
