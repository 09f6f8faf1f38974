"""Sides and costs of a network in an ONNX file, against what ONNX Runtime computes and what arithmetic says."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from seg_batch.config.card_parts.network import Tensors
from seg_batch.core.errors import InputError
from seg_batch.nn.analysis.onnx.network import FLOAT_BYTES, SLACK, PatchGrid, PatchNetwork, opened
from tests.support.nn import onnx_models as made

FIRST = Tensors(layout="channels_first")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.onnx"


def computed_sides(path: Path, network: PatchNetwork, patch: tuple[int, ...]) -> tuple[int, ...]:
    session = onnxruntime.InferenceSession(str(path))
    (y,) = session.run(None, {"x": np.zeros((1, network.channels, *patch), np.float32)})
    return tuple(y.shape[2:])


@pytest.mark.parametrize("rank", [2, 3])
def test_a_network_that_halves_takes_even_sides(path: Path, rank: int) -> None:
    network = opened(made.saved(made.unet(rank=rank), path), FIRST)
    assert (network.rank, network.channels, network.outputs) == (rank, 3, 2)
    assert network.multiples == (2,) * rank
    assert network.grid((12,) * rank) == PatchGrid(1, (0,) * rank)
    assert network.grid((13,) * rank) is None


def test_what_a_file_fixes_is_its_only_patch(path: Path) -> None:
    network = opened(made.saved(made.unet(batch=2, side=24), path), FIRST)
    assert (network.batch, network.sides, network.multiples) == (2, (24, 24), (24, 24))


@pytest.mark.parametrize("pads", [0, 1])
def test_smaller_outputs_are_measured(path: Path, pads: int) -> None:
    network = opened(made.saved(made.convolution(pads=pads), path), FIRST)
    assert network.output_sides((20, 30)) == computed_sides(path, network, (20, 30))
    assert network.grid((20, 30)) == PatchGrid(1, (1 - pads,) * 2)
    assert network.multiples == (1, 1)


def test_finer_outputs_are_measured(path: Path) -> None:
    up = made.node("ConvTranspose", "x w", "y", kernel_shape=(2, 2), strides=(2, 2))
    shape = ("n", 3, "h", "w")
    made.saved(made.graph_of([up], [made.numbers("w", (3, 2, 2, 2))], shape, shape), path)
    assert opened(path, FIRST).grid((5, 7)) == PatchGrid(2, (0, 0))


def test_work_and_memory_are_those_of_the_layers(path: Path) -> None:
    network = opened(made.saved(made.convolution(channels=4, outputs=8), path), FIRST)
    assert network.flops((10, 20)) == 2 * 10 * 20 * (3 * 3 * 4 * 8)
    tensors = 10 * 20 * (4 + 8) * FLOAT_BYTES
    assert SLACK * tensors <= network.activation_bytes((10, 20)) <= 3 * SLACK * tensors


def test_what_labels_no_voxels_is_refused(path: Path) -> None:
    nodes = [made.node("ReduceMean", "x", "y", axes=[4], keepdims=0)]
    made.saved(made.graph_of(nodes, [], ("n", 2, 4, 4, 4), ("n", 2, 4, 4)), path)
    with pytest.raises(InputError, match="labels no voxels"):
        opened(path, FIRST)
    path.write_bytes(b"no model")
    with pytest.raises(InputError, match="no ONNX model"):
        opened(path, FIRST)
