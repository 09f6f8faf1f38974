"""Every network of the registry computes in OpenVINO what it computes in Keras, in both precisions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_batch.errors import BundleError
from seg_batch.nn.anunet import deepest
from seg_batch.nn.backend import keras
from seg_batch.nn.engines.convert import convert, to_openvino
from seg_batch.nn.engines.openvino import OpenVINOPredictor
from seg_batch.nn.engines.silent import core
from seg_batch.nn.engines.silent import openvino as ov
from seg_batch.nn.zoo import ARCHITECTURES, build, multiple

BF16 = "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
LIGHT = {"backbone": "mobilenet_v3_small_minimalistic"}
# Filters and options that make a network small; (4, 6, 8) and none for the others.
SMALL: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "encoder_unet": ((4, 6, 8), LIGHT),
    "mobile_unet": ((4, 6, 8, 10, 12), {}),
    "deeplabv3plus": ((8, 12), {**LIGHT, "rates": [2, 3], "image_level": True}),
}
CASES = [(name, rank, {}) for name, one in ARCHITECTURES.items() for rank in one.config.ranks]
CASES += [("encoder_unet", 2, {"backbone": "efficientnet_v2_b0"})]


def require_equal(model: keras.Model, x: np.ndarray, folder: Path) -> None:
    """Within rounding in float32; near in bfloat16, as seen beside how much the outputs differ."""
    expected = np.asarray(model(x, training=False), np.float32)
    ov.save_model(to_openvino(model), folder / "model.xml", compress_to_fp16=False)
    found = OpenVINOPredictor(folder / "model.xml")(x)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    if BF16:
        near = OpenVINOPredictor(folder / "model.xml", precision="mixed")(x)
        assert np.abs(near - expected).max() < 0.25 * np.ptp(expected, axis=(0, 1, 2)).max()
        assert not np.array_equal(near, found)


@pytest.mark.full
@pytest.mark.parametrize(("name", "rank", "more"), CASES)
def test_openvino_computes_every_network(
    tmp_path: Path, name: str, rank: int, more: dict[str, Any]
) -> None:
    filters, options = SMALL.get(name, ((4, 6, 8), {}))
    options = {**options, **more}
    keras.utils.set_random_seed(0)
    model = deepest(build(name, rank=rank, channels=2, classes=3, filters=filters, **options))
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.7, 1.3, w.shape) for w in layer.get_weights()])
    step = multiple(name, filters, options)
    sides = (2 * step, 3 * step) if rank == 2 else (2 * step, 3 * step, step)
    require_equal(model, rng.normal(size=(1, *sides, 2)).astype(np.float32), tmp_path)


@pytest.mark.full
def test_openvino_computes_what_others_build(tmp_path: Path) -> None:
    """Group normalisation, SiLU, a model within the model that enlarges smoothly."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    inside = keras.Input((None, None, 4))
    decoder = keras.Model(inside, layers.UpSampling2D(2, interpolation="bilinear")(inside))
    image = keras.Input((None, None, 2))
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="silu")(image)
    x = layers.GroupNormalization(2)(decoder(x))
    x = layers.Conv2D(4, 3, padding="same", activation="silu")(x)
    model = keras.Model(image, layers.Conv2D(3, 1, activation="softmax")(x))
    pixels = np.random.default_rng(0).normal(size=(1, 32, 48, 2)).astype(np.float32)
    require_equal(model, pixels, tmp_path)


@pytest.mark.full
def test_what_openvino_lacks_is_named(tmp_path: Path) -> None:
    image = keras.Input((None, None, 2))
    x = keras.layers.UpSampling2D(2, interpolation="bicubic")(image)
    made = keras.Model(image, keras.layers.Conv2D(2, 1, strides=2, activation="softmax")(x))
    made.save(tmp_path / "model.keras")
    with pytest.raises(BundleError, match=r"converted for OpenVINO .*use --engine tensorflow"):
        convert(tmp_path / "model.keras", tmp_path / "model.xml")
