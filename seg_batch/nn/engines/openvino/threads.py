"""What the number of threads may change in an OpenVINO model (law 2), and what is done about it.

OpenVINO splits the sums of a normalisation over several axes among threads, and those of a matrix product over a long
axis. Of two dozen kinds of networks, with 1 to 7 threads, no other sum was. It makes normalisations at compile time
of means and roots that are written out, so that a parsed graph does not show them: they are made before, here.
"""

import importlib
import logging
import re
from typing import Any

import numpy as np

from seg_batch.nn.engines.openvino.library import openvino

# Operators whose results hold for any number of threads, as tests show. What is not among them is tried (``steady``).
_ELEMENTWISE = (
    *(
        "Abs",
        "Add",
        "Ceiling",
        "Clamp",
        "Convert",
        "ConvertLike",
        "Divide",
        "Elu",
        "Equal",
        "Erf",
        "Exp",
    ),
    *("FakeQuantize", "Floor", "FloorMod", "Gelu", "Greater", "GreaterEqual", "HSigmoid", "HSwish"),
    *(
        "HardSigmoid",
        "IsInf",
        "IsNaN",
        "Less",
        "LessEqual",
        "Log",
        "LogicalAnd",
        "LogicalNot",
        "LogicalOr",
    ),
    *(
        "Maximum",
        "Minimum",
        "Mish",
        "Mod",
        "Multiply",
        "Negative",
        "NotEqual",
        "PRelu",
        "Power",
        "Relu",
    ),
    *(
        "Round",
        "Select",
        "Selu",
        "Sigmoid",
        "Sign",
        "SoftPlus",
        "SoftSign",
        "Sqrt",
        "SquaredDifference",
    ),
    *("Subtract", "Swish", "Tanh", "BatchNormInference"),
)
_MOVING = (
    *(
        "Broadcast",
        "Concat",
        "Constant",
        "DepthToSpace",
        "Gather",
        "Pad",
        "Parameter",
        "Range",
        "Reshape",
    ),
    *("Result", "ShapeOf", "Slice", "SpaceToDepth", "Split", "Squeeze", "StridedSlice", "Tile"),
    *("Transpose", "Unsqueeze", "VariadicSplit"),
)
_SUMS = (
    *("AvgPool", "Convolution", "ConvolutionBackpropData", "GroupConvolution"),
    *("GroupConvolutionBackpropData", "Interpolate", "LogSoftmax", "MVN", "MaxPool", "Softmax"),
)
_MEANS = frozenset({"ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"})
_ROOTS = frozenset({"Power", "Sqrt"})
FUSION = "openvino._offline_transformations"  # private
STEADY = frozenset({*_ELEMENTWISE, *_MOVING, *_SUMS, *_MEANS})

_log = logging.getLogger(__name__)


def made_steady(model: Any) -> bool:
    """Change `model` so that its normalisations are not split, where that can be; whether all of it holds for any number
    of threads, as far as tests know."""
    kinds = _kinds(model)
    if kinds & _MEANS and kinds & _ROOTS:
        _fuse(model)
        kinds = _kinds(model)
    for node in _normalisations(model):
        _normalise_planes(node)
    written_out = kinds & _MEANS and kinds & _ROOTS  # may be fused yet
    flat = all(node.input_value(1).get_partial_shape() == [1] for node in _normalisations(model))
    return bool(flat and not written_out and kinds <= STEADY)


def _kinds(model: Any) -> set[str]:
    return {node.get_type_name() for node in model.get_ops()}


def _normalisations(model: Any) -> list[Any]:
    return [node for node in model.get_ordered_ops() if node.get_type_name() == "MVN"]


def _fuse(model: Any) -> None:
    """What compiling does first, done now. Without it, in another version, such a network is tried."""
    try:
        importlib.import_module(FUSION).apply_moc_transformations(model, cf=False)
    except (ImportError, AttributeError, TypeError, RuntimeError) as error:
        _log.debug("OpenVINO fused nothing beforehand: %s", error)


def _normalise_planes(node: Any) -> None:
    """An instance normalisation over one flat axis, which one thread sums for each channel, instead of two or three."""
    op = openvino.opset8
    image, axes = node.input_value(0), node.input_value(1).get_node()
    rank = len(image.get_partial_shape())
    sides = list(range(2, rank))
    if axes.get_type_name() != "Constant" or sorted(axes.data.reshape(-1) % rank) != sides:
        return
    it = node.get_attributes()
    flat = op.reshape(image, np.array([0, 0, -1]), True)
    normal = op.mvn(flat, np.array([2]), it["normalize_variance"], it["eps"], it["eps_mode"])
    back = op.reshape(normal, op.shape_of(image), False)
    if not re.fullmatch(r"MVN_\d+", name := node.get_friendly_name()):  # the file's own name
        back.set_friendly_name(name)
    for reader in list(node.output(0).get_target_inputs()):
        reader.replace_source_output(back.output(0))
