"""Small ONNX networks as others export them, made with the library onnx."""

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save_model

type Sides = tuple[int | str | None, ...]
OPSET = 17


def node(kind: str, inputs: str, output: str, **attributes: Any) -> Any:
    return helper.make_node(kind, inputs.split(), output.split(), name=f"/{output}", **attributes)


def numbers(name: str, shape: tuple[int, ...], seed: int = 0) -> Any:
    """Random weights that keep the spread of what they multiply."""
    values = np.random.default_rng(seed).standard_normal(shape) / max(np.prod(shape[1:]), 1) ** 0.5
    return numpy_helper.from_array(values.astype(np.float32), name)


def fixed(name: str, *values: float, dtype: type = np.int64) -> Any:
    return numpy_helper.from_array(np.array(values, dtype), name)


def graph_of(
    nodes: list[Any],
    weights: list[Any],
    image: Sides,
    output: Sides,
    *,
    dtype: int = TensorProto.FLOAT,
    more: tuple[Any, ...] = (),
    domains: tuple[str, ...] = (),
) -> Any:
    """A model of these nodes from ``x`` to ``y``. ``more``: further outputs."""
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", dtype, image)],
        [helper.make_tensor_value_info("y", dtype, output), *more],
        weights,
    )
    opsets = [helper.make_opsetid("", OPSET), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def unet(
    *, rank: int = 2, channels: int = 3, outputs: int = 2, batch: int | str = "n", side: Any = "s"
) -> Any:
    """Channels first: two levels, a pooling, an enlargement and a skip; its field is 12 voxels wide, its output logits."""
    k, pads = (3,) * rank, [1] * 2 * rank
    conv = {"kernel_shape": k, "pads": pads}
    nodes = [
        node("Conv", "x w1 b1", "c1", **conv),
        node("Relu", "c1", "r1"),
        node("Conv", "r1 w2", "c2", **conv),
        node("LeakyRelu", "c2", "r2"),
        node("MaxPool", "r2", "p", kernel_shape=(2,) * rank, strides=(2,) * rank),
        node("Conv", "p w3", "c3", **conv),
        node("Relu", "c3", "r3"),
        node("ConvTranspose", "r3 w4", "u", kernel_shape=(2,) * rank, strides=(2,) * rank),
        node("Concat", "u r2", "j", axis=1),
        node("Conv", "j w5", "c5", **conv),
        node("Relu", "c5", "r5"),
        node("Conv", "r5 w6 b6", "y", kernel_shape=(1,) * rank),
    ]
    weights = [
        numbers("w1", (8, channels, *k), 1),
        numbers("b1", (8,), 2),
        numbers("w2", (8, 8, *k), 3),
        numbers("w3", (16, 8, *k), 4),
        numbers("w4", (16, 8, *(2,) * rank), 5),
        numbers("w5", (8, 16, *k), 6),
        numbers("w6", (outputs, 8, *(1,) * rank), 7),
        numbers("b6", (outputs,), 8),
    ]
    sides = (side,) * rank
    return graph_of(nodes, weights, (batch, channels, *sides), (batch, outputs, *sides))


def convolution(*, pads: int = 1, channels: int = 1, outputs: int = 2, side: Any = "s") -> Any:
    """One convolution of 3 x 3, channels first; without padding the output is two voxels smaller."""
    conv = node("Conv", "x w", "y", kernel_shape=(3, 3), pads=[pads] * 4)
    shape = ("n", channels, side, side)
    return graph_of(
        [conv], [numbers("w", (outputs, channels, 3, 3))], shape, ("n", outputs, "h", "w")
    )


def channels_last(*, channels: int = 2, outputs: int = 3) -> Any:
    """A convolution of 3 x 3 between two transposes, as tf2onnx writes a Keras model; ends in a softmax."""
    nodes = [
        node("Transpose", "x", "first", perm=(0, 3, 1, 2)),
        node("Conv", "first w", "c", kernel_shape=(3, 3), pads=[1] * 4),
        node("Transpose", "c", "last", perm=(0, 2, 3, 1)),
        node("Softmax", "last", "y", axis=-1),
    ]
    weights = [numbers("w", (outputs, channels, 3, 3))]
    return graph_of(nodes, weights, ("n", "h", "w", channels), ("n", "h", "w", outputs))


def saved(model: Any, path: Path, **how: Any) -> Path:
    save_model(model, str(path), **how)
    return path
