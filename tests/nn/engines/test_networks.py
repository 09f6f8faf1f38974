"""Every network of the registry computes in OpenVINO what it computes in Keras, in both precisions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_batch.nn.anunet import deepest
from seg_batch.nn.backend import keras
from seg_batch.nn.engines.convert import to_openvino
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
CASES = [(name, rank) for name, one in ARCHITECTURES.items() for rank in one.config.ranks]


@pytest.mark.full
@pytest.mark.parametrize(("name", "rank"), CASES)
def test_openvino_computes_every_network(tmp_path: Path, name: str, rank: int) -> None:
    filters, options = SMALL.get(name, ((4, 6, 8), {}))
    keras.utils.set_random_seed(0)
    model = deepest(build(name, rank=rank, channels=2, classes=3, filters=filters, **options))
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.7, 1.3, w.shape) for w in layer.get_weights()])
    step = multiple(name, filters, options)
    sides = (2 * step, 3 * step) if rank == 2 else (2 * step, 3 * step, step)
    x = rng.normal(size=(1, *sides, 2)).astype(np.float32)
    expected = np.asarray(model(x, training=False), np.float32)
    ov.save_model(to_openvino(model), tmp_path / "model.xml", compress_to_fp16=False)
    found = OpenVINOPredictor(tmp_path / "model.xml")(x)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    if BF16:
        near = OpenVINOPredictor(tmp_path / "model.xml", precision="mixed")(x)
        np.testing.assert_allclose(near, expected, atol=0.1)
        assert not np.array_equal(near, found)
