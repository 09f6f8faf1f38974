"""Encoders from keras.applications against the applications themselves, and where their weights come from."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_batch.core.errors import InputError
from seg_batch.nn.backend import keras
from seg_batch.nn.networks.backbones import BACKBONES, STRIDES, BackboneConfig, encode
from seg_batch.nn.networks.channel_fitting import fitted
from seg_batch.nn.networks.encoder_unet import EncoderUNetConfig
from seg_batch.nn.networks.registry import part_of

QUICK = "mobilenet_v3_small"
SEVERAL = pytest.mark.parametrize("backbone", [QUICK, "resnet50", "efficientnet_v2_b0"])
WIDTHS = {  # of the taps; MobileNetV3: Howard et al., Table 2, 96 = 4 x 24, 288 = 6 x 48
    QUICK: [16, 72, 96, 288, 576],
    "resnet50": [64, 256, 512, 1024, 2048],
    "efficientnet_v2_b0": [16, 32, 192, 672, 1280],
}
RNG = np.random.default_rng(5)


def config(backbone: str = QUICK, channels: int = 3, **options: Any) -> BackboneConfig:
    return EncoderUNetConfig(2, channels, 2, backbone=backbone, **options)


def application(backbone: str) -> keras.Model:
    """As Keras builds it; the statistics of its normalisations are not those of a new model."""
    known, image = BACKBONES[backbone], keras.Input((None, None, 3))
    model = getattr(keras.applications, known.function)(
        include_top=False, weights=None, input_tensor=image, **known.arguments
    )
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([RNG.uniform(0.8, 1.2, w.shape) for w in layer.get_weights()])
    return model


@dataclass(frozen=True)
class Trio:
    """The application, the file of its weights, our encoder with them."""

    theirs: keras.Model
    path: str
    ours: keras.Model


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Trio]:
    """Of a backbone, made once."""
    folder = tmp_path_factory.mktemp("weights")

    @cache
    def made(backbone: str) -> Trio:
        theirs, path = application(backbone), str(folder / f"{backbone}.weights.h5")
        theirs.save_weights(path)
        return Trio(theirs, path, encoder(config(backbone, weights=path)))

    return made


def encoder(
    config: BackboneConfig, strides: tuple[int, ...] = STRIDES, **options: Any
) -> keras.Model:
    image = keras.Input((None, None, config.channels), name="image")
    return keras.Model(image, encode(image, config, strides, **options))


def image(y: int, x: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(1, y, x, channels)).astype(np.float32)


# -- the graph


@pytest.mark.full
@SEVERAL
def test_an_encoder_computes_what_the_application_does(
    trio: Callable[[str], Trio], backbone: str
) -> None:
    """Weights from the file are used, every one, and no layer is lost or doubled on the way."""
    found, x = trio(backbone), image(64, 96)
    assert found.ours.count_params() == found.theirs.count_params()
    for mine, other in zip(found.ours.get_weights(), found.theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)
    last = np.asarray(found.ours(x)[-1])
    np.testing.assert_allclose(last, found.theirs([x]), rtol=1e-4, atol=1e-4 * last.max())


@pytest.mark.full
@SEVERAL
def test_taps_are_where_the_next_halving_begins(trio: Callable[[str], Trio], backbone: str) -> None:
    """At each stride one tensor, made by an activation or a sum, not by a convolution in mid-block."""
    made = trio(backbone).ours
    for stride, tap in zip(STRIDES, made(image(64, 96)), strict=True):
        assert tap.shape[1:3] == (64 // stride, 96 // stride)
    kinds = {type(tensor._keras_history.operation).__name__ for tensor in made.outputs}
    assert kinds <= {"Activation", "ReLU", "Add"}
    assert [tap.shape[-1] for tap in made.outputs] == WIDTHS[backbone]


@pytest.mark.full
def test_names_are_the_same_in_every_build(trio: Callable[[str], Trio]) -> None:
    """Keras numbers layers by what was built before; ours have to be found again by name."""
    first, second = trio(QUICK).ours, encoder(config())
    names = [layer.name for layer in first.layers]
    assert names == [layer.name for layer in second.layers]
    assert {part_of(name) for name in names} == {"encoder"}
    assert all(isinstance(operation, keras.Layer) for operation in first.operations)


@pytest.mark.full
def test_nothing_deeper_than_asked_is_kept_and_alpha_scales_the_widths() -> None:
    narrow = encoder(config(alpha=0.5), STRIDES[:3])
    assert [tap.shape[-1] for tap in narrow.outputs] == [16, 40, 64]
    assert narrow.count_params() < 15_000


@pytest.mark.parametrize(
    "backbone",
    [
        pytest.param(QUICK, marks=pytest.mark.full),
        pytest.param("resnet50", marks=pytest.mark.slow),
        pytest.param("efficientnet_v2_b0", marks=pytest.mark.slow),
    ],
)
def test_holes_instead_of_strides_see_the_same_voxels(
    trio: Callable[[str], Trio], backbone: str
) -> None:
    """The algorithm a trous: every second voxel of the dense encoder is one of the strided one.

    Away from borders, as padding is another one; squeeze-and-excitation averages other voxels, so its
    gates are opened for the comparison.
    """
    strided = keras.models.clone_model(found := trio(backbone).ours)
    strided.set_weights(found.get_weights())
    dense = encoder(config(backbone), (4, 16), dense=True)
    dense.set_weights(found.get_weights())
    for model in (strided, dense):
        open_gates(model)
    x, rows = image(768, 64), 24
    sparse, full = np.asarray(strided(x)[-1]), np.asarray(dense(x)[-1])
    assert full.shape[1:3] == (2 * rows, 4)
    inside, errors = slice(rows // 3, -rows // 3), []
    for offset in (0, 1):
        mine = full[:, offset::2, offset::2]
        errors.append(np.abs(mine - sparse)[:, inside].max() / np.abs(sparse).max())
    assert min(errors) < 1e-4 < max(errors)


def open_gates(model: keras.Model) -> None:
    """Squeeze-and-excitation without effect: its last convolution gives a large constant."""
    for layer in model.layers:
        if layer.name.endswith(("se_expand", "squeeze_excite_conv_1")):
            kernel, bias = layer.get_weights()
            layer.set_weights([0 * kernel, 0 * bias + 50])


# -- weights


@pytest.mark.full
@pytest.mark.parametrize("channels", [1, 4])
def test_a_file_for_three_channels_serves_others(
    trio: Callable[[str], Trio], channels: int
) -> None:
    """The first kernel is fitted as in fine-tuning, so equal channels give what they gave; all other
    weights are the file's."""
    found = trio(QUICK)
    chosen = config(channels=channels, weights=found.path)
    ours = encoder(chosen)
    for mine, other in zip(ours.get_weights()[1:], found.ours.get_weights()[1:], strict=True):
        np.testing.assert_array_equal(mine, other)
    mine, other = (np.asarray(m.get_layer("encoder_conv").kernel) for m in (ours, found.ours))
    np.testing.assert_array_equal(mine, fitted(other, channels))
    grey = image(64, 64, 1)
    taps, theirs = ours(np.repeat(grey, channels, -1)), found.ours(np.repeat(grey, 3, -1))
    np.testing.assert_allclose(taps[1], theirs[1], atol=1e-4)
    assert chosen.said == (
        f"the encoder starts from {found.path}",
        f"its first layer was fitted from 3 to {channels} channels, each from the mean of all",
    )


def test_what_is_said_of_weights() -> None:
    assert config(channels=4).said == ()
    assert config(weights="some.h5").said == ("the encoder starts from some.h5",)
    assert "weights" not in config(weights="some.h5").options


@pytest.mark.full
def test_a_file_of_the_old_format_serves_too(trio: Callable[[str], Trio], tmp_path: Path) -> None:
    """What Keras offers for download is HDF5 as of Keras 2, layers by their order."""
    found = trio(QUICK)
    found.theirs.save(path := tmp_path / "old.h5")
    again = encoder(config(weights=str(path)))
    for mine, other in zip(again.get_weights(), found.theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.full
@pytest.mark.parametrize("kind", ["text", "other"])
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "wrong.weights.h5"
    if kind == "text":
        path.write_text("not HDF5\n")
    else:
        keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save_weights(path)
    with pytest.raises(InputError, match="holds no weights of mobilenet_v3_small") as error:
        encoder(config(weights=str(path)))
    assert "save_weights('mobilenet_v3_small.weights.h5')" in error.value.message
    assert "\n" not in error.value.message


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(InputError, match=r"there is no weights file no\.h5; on a machine with a"):
        encoder(config(weights="no.h5"))


# -- configuration


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weights": "imagenet"}, "would download; on a machine with a network, run keras.applica"),
        ({"backbone": "ResNet-50"}, "no backbone 'ResNet-50'; did you mean resnet50?"),
        ({"backbone": "MobileNetV3Small"}, "did you mean mobilenet_v3_small?"),
        ({"backbone": "swin"}, "known are resnet50, mobilenet_v3_small"),
        ({"backbone": "resnet50", "alpha": 0.5}, "alpha is 0.5 for resnet50; use 1, or"),
        ({"alpha": -1.0}, "alpha is -1.0"),
    ],
)
def test_refused_in_one_line(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as error:
        EncoderUNetConfig(2, 3, 2, **{"backbone": QUICK, **options})
    assert said in error.value.message
    assert "\n" not in error.value.message
