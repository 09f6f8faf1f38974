"""What an output voxel depends on: as the graph is read, and as it is when each input voxel is changed."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from seg_batch.config.card_parts.network import Tensors
from seg_batch.nn.analysis.onnx.dependence import global_layers, receptive_field
from seg_batch.nn.analysis.onnx.network import PatchNetwork, opened
from tests.support.nn import onnx_models as made
from tests.support.nn.onnx_models import fixed, node, numbers

pytestmark = pytest.mark.full  # many networks or whole runs

FIRST = Tensors(layout="channels_first")
PATCH = (32, 32)
CHANNELS = 2


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.onnx"


def network_of(nodes: list[Any], weights: list[Any], path: Path, side: Any = "s") -> PatchNetwork:
    shape = ("n", CHANNELS, side, side)
    return opened(
        made.saved(made.graph_of(nodes, weights, shape, ("n", "k", "h", "w")), path), FIRST
    )


def conv(source: str, output: str, weight: str, **more: Any) -> Any:
    return node(
        "Conv", f"{source} {weight}", output, **{"kernel_shape": (3, 3), "pads": [1] * 4} | more
    )


def kernel(name: str, inputs: int = CHANNELS, outputs: int = CHANNELS, size: int = 3) -> Any:
    return numbers(name, (outputs, inputs, size, size), seed=inputs + outputs)


def seen(path: Path) -> int:
    """The widest span of rows that, changed one by one, change one row of the output."""
    session = onnxruntime.InferenceSession(str(path))
    x = np.random.default_rng(0).normal(size=(1, CHANNELS, *PATCH)).astype(np.float32)
    y = session.run(None, {"x": x})[0]
    rows = []
    for row in range(PATCH[0]):
        other = x.copy()
        other[:, :, row] += 3
        changed = np.abs(session.run(None, {"x": other})[0] - y).max(axis=(0, 1, 3))
        rows.append(changed > 1e-6)
    spans = [np.flatnonzero(column) for column in np.array(rows).T]
    return max(int(span[-1] - span[0]) + 1 for span in spans if span.size)


def resized(mode: str, how: str) -> tuple[list[Any], list[Any]]:
    """Halved by a stride and enlarged to twice that, by scales."""
    up = node(
        "Resize",
        "a  scales",
        "b",
        mode=mode,
        coordinate_transformation_mode=how,
        nearest_mode="floor",
    )
    up.input[:] = ["a", "", "scales"]
    nodes = [conv("x", "a", "w", strides=(2, 2)), up, conv("b", "y", "v")]
    return nodes, [kernel("w"), kernel("v"), fixed("scales", 1, 1, 2, 2, dtype=np.float32)]


def windows() -> tuple[list[Any], list[Any]]:
    """Attention within windows of 4 x 4, by reshapes and transposes as Swin has it."""
    shapes = {
        "cut": (0, 8, 4, 8, 4, CHANNELS),
        "tokens": (-1, 16, CHANNELS),
        "back": (-1, 8, 8, 4, 4, CHANNELS),
        "whole": (-1, 32, 32, CHANNELS),
    }
    nodes = [
        conv("x", "c", "w"),
        node("Transpose", "c", "last", perm=(0, 2, 3, 1)),
        node("Reshape", "last cut", "r1"),
        node("Transpose", "r1", "t1", perm=(0, 1, 3, 2, 4, 5)),
        node("Reshape", "t1 tokens", "q"),
        node("Transpose", "q", "k", perm=(0, 2, 1)),
        node("MatMul", "q k", "s"),
        node("Softmax", "s", "p", axis=-1),
        node("MatMul", "p q", "o"),
        node("Reshape", "o back", "r2"),
        node("Transpose", "r2", "t2", perm=(0, 1, 3, 2, 4, 5)),
        node("Reshape", "t2 whole", "r3"),
        node("Transpose", "r3", "y", perm=(0, 3, 1, 2)),
    ]
    return nodes, [kernel("w"), *(fixed(name, *shape) for name, shape in shapes.items())]


LOCAL: dict[str, tuple[list[Any], list[Any]]] = {
    "dilated": ([conv("x", "y", "w", dilations=(3, 3), pads=[3] * 4)], [kernel("w")]),
    "valid": ([conv("x", "a", "w", pads=[0] * 4), conv("a", "y", "w", pads=[0] * 4)], [kernel("w")]),
    "average pool": (
        [conv("x", "a", "w"), node("AveragePool", "a", "y", kernel_shape=(5, 5), pads=[2] * 4)],
        [kernel("w")],
    ),
    "mirrored": (
        [node("Pad", "x pads", "a", mode="reflect"), conv("a", "y", "w", pads=[0] * 4)],
        [fixed("pads", 0, 0, 1, 1, 0, 0, 1, 1), kernel("w")],
    ),
    "cropped and joined": (
        [
            node("Slice", "x from to axes", "a"),
            node("Pad", "a pads", "b"),
            node("Concat", "x b", "c", axis=1),
            conv("c", "y", "w"),
        ],
        [
            *(fixed("from", 2, 2), fixed("to", -2, -2), fixed("axes", 2, 3)),
            *(fixed("pads", 0, 0, 4, 4, 0, 0, 0, 0), kernel("w", 2 * CHANNELS)),
        ],
    ),
    "pixels to channels": (
        [
            node("SpaceToDepth", "x", "a", blocksize=4),
            conv("a", "b", "w"),
            node("DepthToSpace", "b", "y", blocksize=4),
        ],
        [kernel("w", 16 * CHANNELS, 16 * CHANNELS)],
    ),
    "nearest": resized("nearest", "asymmetric"),
    "linear": resized("linear", "half_pixel"),
    "windows": windows(),
}  # fmt: skip


@pytest.mark.parametrize("name", LOCAL)
def test_the_field_is_what_changes_show(name: str, path: Path) -> None:
    side = 32 if name == "windows" else "s"
    network = network_of(*LOCAL[name], path, side)
    assert global_layers(network, PATCH) == ()
    assert receptive_field(network, PATCH) == (seen(path),) * 2


@pytest.mark.parametrize("rank", [2, 3])
def test_the_field_of_a_unet(path: Path, rank: int) -> None:
    network = opened(made.saved(made.unet(rank=rank, channels=CHANNELS), path), FIRST)
    assert receptive_field(network, (16,) * rank) == (12,) * rank
    if rank == 2:
        assert seen(path) == 12


def attention() -> tuple[list[Any], list[Any]]:
    nodes = [
        node("Reshape", "x tokens", "k"),
        node("Transpose", "k", "q", perm=(0, 2, 1)),
        node("MatMul", "q k", "s"),
        node("Softmax", "s", "p", axis=-1),
        node("MatMul", "k p", "o"),
        node("Reshape", "o whole", "y"),
    ]
    return nodes, [fixed("tokens", 0, CHANNELS, -1), fixed("whole", 0, CHANNELS, 32, 32)]


NORM = ([node("InstanceNormalization", "x g b", "y")], [numbers("g", (2,)), numbers("b", (2,))])
POOL = node("GlobalAveragePool", "x", "m")
GLOBAL: dict[str, tuple[tuple[list[Any], list[Any]], set[str]]] = {
    "instance": (NORM, {"instance normalisation"}),
    "group": (
        (
            [
                node("Reshape", "x groups", "a"),
                node("InstanceNormalization", "a g b", "c"),
                node("Reshape", "c whole", "y"),
            ],
            [
                *(fixed("groups", 0, 1, -1), fixed("whole", 0, CHANNELS, 32, 32)),
                *(numbers("g", (1,)), numbers("b", (1,))),
            ],
        ),
        {"group normalisation"},
    ),
    "pool": (([POOL, node("Add", "x m", "y")], []), {"global pooling"}),
    "squeeze": (
        (
            [POOL, node("Conv", "m w", "c"), node("Sigmoid", "c", "s"), node("Mul", "x s", "y")],
            [kernel("w", size=1)],
        ),
        {"squeeze-and-excitation"},
    ),
    "attention": (attention(), {"softmax over space", "attention"}),
    "flatten": (
        (
            [
                node("Reshape", "x flat", "a"),
                node("MatMul", "a w", "b"),
                node("Reshape", "b whole", "y"),
            ],
            [
                *(fixed("flat", 0, -1), fixed("whole", 0, CHANNELS, 32, 32)),
                numbers("w", (2048, 2048)),
            ],
        ),
        {"flattening"},
    ),
    "maximum": (
        ([node("ReduceMax", "x", "m", axes=[2, 3]), node("Sub", "x m", "y")], []),
        {"global pooling"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GLOBAL)
def test_layers_that_see_the_whole_patch_are_named(name: str, path: Path) -> None:
    (nodes, weights), kinds = GLOBAL[name]
    network = network_of(nodes, weights, path, 32)
    found = global_layers(network, PATCH)
    assert {finding.kind for finding in found} == kinds
    assert {finding.layer.lstrip("/") for finding in found} <= {n.output[0] for n in nodes}
    assert receptive_field(network, PATCH) == (None, None)
    assert seen(path) == PATCH[0]


def test_a_normalisation_over_channels_is_local(path: Path) -> None:
    nodes = [
        node("Transpose", "x", "a", perm=(0, 2, 3, 1)),
        node("LayerNormalization", "a g", "b", axis=-1),
        node("Transpose", "b", "y", perm=(0, 3, 1, 2)),
    ]
    network = network_of(nodes, [numbers("g", (CHANNELS,))], path)
    assert global_layers(network, PATCH) == ()
    assert receptive_field(network, PATCH) == (1, 1)


def test_an_enlargement_to_sides_in_the_file_is_named(path: Path) -> None:
    up = node("Resize", "a none none sizes", "y", mode="nearest")
    up.input[:] = ["a", "", "", "sizes"]
    nodes = [conv("x", "a", "w", strides=(2, 2)), up]
    network = network_of(nodes, [kernel("w"), fixed("sizes", 1, CHANNELS, 32, 32)], path)
    assert [finding.kind for finding in global_layers(network, PATCH)] == [
        "resizing to a fixed size"
    ]
    assert network.multiples is None


def test_what_is_not_known_has_no_field(path: Path) -> None:
    network = network_of([node("CumSum", "x axis", "y")], [fixed("axis", 2)], path)
    assert receptive_field(network, PATCH) == (None, None)
