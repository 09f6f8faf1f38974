"""Costs by hand, and the memory estimate against the memory really used."""

import subprocess
import sys
from math import prod

import pytest

from seg_batch.nn.analysis.flops import activation_bytes, forward_flops
from seg_batch.nn.backend import keras
from seg_batch.nn.networks.anunet import ANUNetConfig, anunet, deepest

# A fresh process says how much its resident memory rose at most while the model ran.
MEASURE = """
import sys
import numpy as np
from seg_batch.nn.engines.tensorflow import KerasPredictor
path, *shape = sys.argv[1:]
shape = tuple(map(int, shape))
predictor = KerasPredictor(path, batch=1)
predictor(np.zeros((1, *(16,) * (len(shape) - 1), shape[-1]), np.float32))
patch = np.ones((1, *shape), np.float32)
def status(key):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024
open("/proc/self/clear_refs", "w").write("5")
before = status("VmRSS")
for _ in range(3):
    predictor(patch)
print(status("VmHWM") - before)
"""


def test_flops_by_hand() -> None:
    image = keras.Input((None, None, 3))
    up = keras.layers.Conv2DTranspose(5, 2, strides=2)(image)
    model = keras.Model(image, keras.layers.Conv2D(7, 3, padding="same")(up))
    # transposed: each of 4 x 6 inputs meets a 2 x 2 x 3 x 5 kernel; then 8 x 12 outputs, 3x3x5x7
    assert forward_flops(model, (4, 6)) == 2 * (4 * 6 * 60 + 8 * 12 * 315)


def test_flops_of_layers_that_convolve_channels_alone() -> None:
    image = keras.Input((None, None, 3))
    alone = keras.layers.DepthwiseConv2D(5, padding="same")(image)
    model = keras.Model(image, keras.layers.SeparableConv2D(7, 3, padding="same")(alone))
    # each of 4 x 6 voxels: 5 x 5 per channel; 3 x 3 per channel, then 3 channels to 7
    assert forward_flops(model, (4, 6)) == 2 * 4 * 6 * (25 * 3 + 9 * 3 + 3 * 7)


def test_flops_grow_with_the_patch_and_bytes_too() -> None:
    model = deepest(anunet(ANUNetConfig(3, 1, 2, (4, 8))))
    assert forward_flops(model, (16, 16, 16)) == 8 * forward_flops(model, (8, 8, 8))
    assert activation_bytes(model, (16, 16, 16)) == 8 * activation_bytes(model, (8, 8, 8))


@pytest.mark.full
def test_bytes_cover_the_widest_layer() -> None:
    """At the last node five maps are read while their concatenation is written."""
    model = deepest(anunet(ANUNetConfig(2, 1, 2, (8, 8, 8, 8, 8))))
    assert activation_bytes(model, (64, 64)) >= 2 * 5 * 8 * 4 * prod((64, 64))


@pytest.mark.slow
@pytest.mark.needs("linux")
@pytest.mark.parametrize(
    ("rank", "filters", "patch"),
    [(2, (16, 32, 64, 128, 256), (512, 512)), (3, (8, 16, 32), (80,) * 3)],
)
def test_estimate_is_above_the_measured_peak_but_not_far(tmp_path, rank, filters, patch) -> None:  # type: ignore[no-untyped-def]
    model = deepest(anunet(ANUNetConfig(rank, 1, 2, filters)))
    model.save(tmp_path / "m.keras")
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "m.keras"), *map(str, (*patch, 1))]
    measured = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert 0.45 * activation_bytes(model, patch) < measured < activation_bytes(model, patch)
