"""Every network of the registry computes in OpenVINO what it computes in Keras, in both precisions."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from seg_batch.core.errors import BundleError
from seg_batch.nn.backend import keras
from seg_batch.nn.engines.openvino.convert import convert, to_openvino
from seg_batch.nn.engines.openvino.engine import OpenVINOPredictor
from seg_batch.nn.engines.openvino.library import openvino as ov
from seg_batch.nn.networks.anunet import deepest
from seg_batch.nn.networks.registry import ARCHITECTURES, build, multiple

LIGHT = {"backbone": "mobilenet_v3_small_minimalistic"}
# Filters and options that make a network small; (4, 6, 8) and none for the others.
SMALL: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "encoder_unet": ((4, 6, 8), LIGHT),
    "mobile_unet": ((4, 6, 8, 10, 12), {}),
    "deeplabv3plus": ((8, 12), {**LIGHT, "rates": [2, 3], "image_level": True}),
}
CASES = [(name, rank, {}) for name, one in ARCHITECTURES.items() for rank in one.config.ranks]
CASES += [("encoder_unet", 2, {"backbone": "efficientnet_v2_b0"})]


class Converted(NamedTuple):
    """A network in OpenVINO's format, pixels, and what Keras computes of them."""

    file: Path
    x: np.ndarray
    expected: np.ndarray


def of_registry(name: str, rank: int, more: dict[str, Any]) -> tuple[keras.Model, tuple[int, ...]]:
    """A small one of this name, and sides that it takes."""
    filters, options = SMALL.get(name, ((4, 6, 8), {}))
    options = {**options, **more}
    model = deepest(build(name, rank=rank, channels=2, classes=3, filters=filters, **options))
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.7, 1.3, w.shape) for w in layer.get_weights()])
    step = multiple(name, filters, options)
    return model, (2 * step, 3 * step, step)[:rank]


def of_others() -> tuple[keras.Model, tuple[int, ...]]:
    """Group normalisation, SiLU, a model within the model that enlarges smoothly."""
    layers = keras.layers
    inside = keras.Input((None, None, 4))
    decoder = keras.Model(inside, layers.UpSampling2D(2, interpolation="bilinear")(inside))
    image = keras.Input((None, None, 2))
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="silu")(image)
    x = layers.GroupNormalization(2)(decoder(x))
    x = layers.Conv2D(4, 3, padding="same", activation="silu")(x)
    return keras.Model(image, layers.Conv2D(3, 1, activation="softmax")(x)), (32, 48)


@pytest.fixture(scope="module", params=[*CASES, None], ids=str)
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    """Every network of the registry, and one that others build."""
    keras.utils.set_random_seed(0)
    model, sides = of_registry(*request.param) if request.param else of_others()
    x = np.random.default_rng(0).normal(size=(1, *sides, 2)).astype(np.float32)
    file = tmp_path_factory.mktemp("network") / "model.xml"
    ov.save_model(to_openvino(model), file, compress_to_fp16=False)
    return Converted(file, x, np.asarray(model(x, training=False), np.float32))


@pytest.mark.full
def test_openvino_computes_what_keras_does(network: Converted) -> None:
    found = OpenVINOPredictor(network.file)(network.x)
    np.testing.assert_allclose(found, network.expected, atol=2e-5)


@pytest.mark.full
def test_a_network_can_be_cut(network: Converted, all_in_float32: list[str]) -> None:
    """As for mixed precision, on any CPU: nothing is lost between the parts."""
    found = OpenVINOPredictor(network.file, precision="mixed")(network.x)
    assert "bf16" in all_in_float32
    np.testing.assert_allclose(found, network.expected, atol=2e-5)


@pytest.mark.needs("bfloat16")
@pytest.mark.full
def test_mixed_precision_is_near(network: Converted) -> None:
    """As seen beside how much the outputs differ."""
    exact, near = (
        OpenVINOPredictor(network.file, precision=p)(network.x) for p in ("float32", "mixed")
    )
    most = np.ptp(network.expected, axis=(0, 1, 2)).max()
    assert np.abs(near - network.expected).max() < 0.25 * most
    assert not np.array_equal(near, exact)


@pytest.mark.full
def test_what_openvino_lacks_is_named(tmp_path: Path) -> None:
    image = keras.Input((None, None, 2))
    x = keras.layers.UpSampling2D(2, interpolation="bicubic")(image)
    made = keras.Model(image, keras.layers.Conv2D(2, 1, strides=2, activation="softmax")(x))
    made.save(tmp_path / "model.keras")
    with pytest.raises(BundleError, match=r"converted for OpenVINO .*use --engine tensorflow"):
        convert(tmp_path / "model.keras", tmp_path / "model.xml")
