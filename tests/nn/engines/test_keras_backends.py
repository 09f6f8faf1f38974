"""The same model on other backends of Keras: the same labels, where there is no TensorFlow."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from seg_batch.nn.engines.tensorflow import KerasPredictor
from seg_batch.nn.networks.anunet import ANUNetConfig
from tests.support.nn.small_models import lively

PREDICT = """
import sys
sys.modules["tensorflow"] = None  # as if it were not installed
import numpy as np
from seg_batch.core.errors import InputError
from seg_batch.nn.engines import load_predictor
predictor = load_predictor(sys.argv[1], engine="keras", batch=2, precision="float32")
x = np.load(sys.argv[2])
np.save(sys.argv[3], predictor(x))
np.testing.assert_array_equal(predictor(x[2:])[0], predictor(x)[2])
try:
    predictor(np.zeros((1, 17, 17, x.shape[-1]), np.float32))
except InputError as error:
    assert "multiple of 2" in str(error), error
else:
    raise AssertionError("17 can't be halved")
"""


def same_labels(backend: str, tmp_path: Path) -> None:
    """Two levels: XLA takes a second for every few layers."""
    weights = tmp_path / "model.keras"
    lively(ANUNetConfig(rank=2, channels=3, classes=4, filters=(8, 16))).save(weights)
    x = np.random.default_rng(0).normal(size=(3, 32, 48, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    files = [str(tmp_path / "x.npy"), str(tmp_path / "y.npy")]
    command = [sys.executable, "-c", PREDICT, str(weights), *files]
    subprocess.run(command, env={**os.environ, "KERAS_BACKEND": backend}, check=True)
    expected, found = KerasPredictor(weights)(x), np.load(tmp_path / "y.npy")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    clear = np.diff(np.sort(expected, axis=-1)[..., -2:])[..., 0] > 1e-4
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(found.argmax(-1)[clear], expected.argmax(-1)[clear])


@pytest.mark.full
def test_jax_gives_the_labels_of_tensorflow(tmp_path: Path) -> None:
    same_labels("jax", tmp_path)


@pytest.mark.torch
def test_torch_gives_the_labels_of_tensorflow(tmp_path: Path) -> None:
    assert find_spec("torch"), "pip install torch first"
    same_labels("torch", tmp_path)
