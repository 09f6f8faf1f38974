"""What the places of an output depend on, operator by operator of OpenVINO's graph.

`Unknown` is raised for operators without a rule: their output keeps what has the same shape, and the receptive
field is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from seg_batch.nn.analysis.lines import Line, Unknown, merged
from seg_batch.nn.analysis.onnx.parts import (
    Axis,
    Part,
    concatenated,
    joined,
    plain,
    reshaped,
    size_of,
    taken,
    whole,
)

type Axes = list[Axis]
type Rule = Callable[[Any, list[Axes], list[int]], Axes]

# Operators whose output voxel depends on the input voxels at the same place only.
POINTWISE = {
    *("Relu", "PRelu", "Sigmoid", "Tanh", "Elu", "Selu", "Gelu", "Swish", "HSwish", "HSigmoid", "Mish", "SoftPlus"),
    *("HardSigmoid", "SoftSign", "Clamp", "Exp", "Log", "Sqrt", "Abs", "Negative", "Erf", "Convert", "Floor", "Ceiling", "Round"),
    *("Sign", "Sin", "Cos", "BatchNormInference", "Add", "Subtract", "Multiply", "Divide", "Power", "Maximum"),
    *("Minimum", "SquaredDifference", "Select", "Greater", "GreaterEqual", "Less", "LessEqual", "Equal"),
    *("NotEqual", "LogicalNot", "LogicalAnd", "LogicalOr", "FakeQuantize", "Mod", "FloorMod", "Broadcast", "IsNaN"),
    *("Identity", "LRN", "Result"),
}  # fmt: skip


def constant(node: Any, index: int) -> np.ndarray:
    """The numbers of an input; Unknown where they are computed."""
    source = node.input_value(index).get_node()
    if source.get_type_name() != "Constant":
        raise Unknown
    return np.asarray(source.data)


def _pointwise(node: Any, inputs: list[Axes], shape: list[int]) -> Axes:
    rank = len(shape)
    padded = [[()] * (rank - len(axes)) + axes for axes in inputs if len(axes) <= rank]
    columns = ([axes[k] for axes in padded if size_of(axes[k]) == n] for k, n in enumerate(shape))
    return [joined(c) if c else plain(n) for c, n in zip(columns, shape, strict=True)]


def _windows(axis: Axis, count: int, size: int, stride: int, before: int, dilation: int) -> Axis:
    """``out[q]`` sees ``in[q * stride - before + k * dilation]`` for k below `size`."""
    part = whole(axis)
    if part.line is None:
        return plain(count)
    starts = np.arange(count) * stride - before
    lines = [part.line.taken(starts + k * dilation) for k in range(size)]
    return (Part(count, part.side, merged(lines)),)


def _sliding(node: Any, image: Axes, shape: list[int], kernel: Sequence[int]) -> Axes:
    it = node.get_attributes()
    dilations = it.get("dilations") or [1] * len(kernel)
    steps = zip(kernel, it["strides"], it["pads_begin"], dilations, strict=True)
    sides = [_windows(a, n, *s) for a, n, s in zip(image[2:], shape[2:], steps, strict=True)]
    return [image[0], plain(shape[1]), *sides]


def _convolution(node: Any, inputs: list[Axes], shape: list[int]) -> Axes:
    kernel = list(node.input_value(1).get_shape())[-len(shape[2:]) :]
    return _sliding(node, inputs[0], shape, kernel)


def _pool(node: Any, inputs: list[Axes], shape: list[int]) -> Axes:
    out = _sliding(node, inputs[0], shape, node.get_attributes()["kernel"])
    return [*inputs[0][:2], *out[2:]]


def _transposed(node: Any, inputs: list[Axes], shape: list[int]) -> Axes:
    """``out[i * stride - before + k * dilation]`` sees ``in[i]``."""
    it, image = node.get_attributes(), inputs[0]
    kernel = list(node.input_value(1).get_shape())[-len(shape[2:]) :]
    sides: Axes = []
    steps = zip(kernel, it["strides"], it["pads_begin"], it["dilations"], strict=True)
    for axis, n, (size, stride, before, dilation) in zip(image[2:], shape[2:], steps, strict=True):
        part, places = whole(axis), np.arange(n) + before
        if part.line is None:
            sides.append(plain(n))
            continue
        back = [np.divmod(places - k * dilation, stride) for k in range(size)]
        lines = [part.line.taken(np.where(rest == 0, i, -1)) for i, rest in back]
        sides.append((Part(n, part.side, merged(lines)),))
    return [image[0], plain(shape[1]), *sides]


def _interpolated(node: Any, inputs: list[Axes], shape: list[int]) -> Axes:
    it, image = node.get_attributes(), inputs[0]
    if any(it.get("pads_begin") or []) or any(it.get("pads_end") or []):
        raise Unknown
    return [
        axis if size_of(axis) == n else _scaled(axis, n, it)
        for axis, n in zip(image, shape, strict=True)
    ]


def _scaled(axis: Axis, count: int, it: dict[str, Any]) -> Axis:
    part = whole(axis)
    if part.line is None:
        return plain(count)
    ratio, places = part.size / count, np.arange(count)
    centres = {
        "asymmetric": places * ratio,
        "align_corners": places * (part.size - 1) / max(count - 1, 1),
        "tf_half_pixel_for_nn": (places + 0.5) * ratio,
    }.get(it["coordinate_transformation_mode"], (places + 0.5) * ratio - 0.5)
    low, high = np.floor(centres), np.ceil(centres)
    if it["mode"] == "nearest" and it.get("nearest_mode") == "floor":
        high = low
    wider = {"nearest": 0, "linear": 0, "linear_onnx": 0, "cubic": 1}.get(it["mode"], 2)
    if it.get("antialias"):
        wider += int(np.ceil(max(ratio, 1) * (wider + 1)))
    reach = [low - wider, high + wider]
    ends = [np.clip(end, 0, part.size - 1).astype(np.int64) for end in reach]
    return (Part(count, part.side, _spanned(part.line, *ends)),)


def _spanned(line: Line, low: np.ndarray, high: np.ndarray) -> Line:
    """From the first to the last of the places, as lines go up along an axis."""
    widest = int((high - low).max())
    return merged([line.taken(np.minimum(low + k, high)) for k in range(widest + 1)])


def _transpose(node: Any, inputs: list[Axes], shape: list[int]) -> Axes:
    order = constant(node, 1).reshape(-1)
    return [inputs[0][k] for k in (order if order.size else range(len(shape))[::-1])]


def _reshape(node: Any, inputs: list[Axes], shape: list[int]) -> Axes:
    return reshaped(inputs[0], shape)


def _concat(node: Any, inputs: list[Axes], shape: list[int]) -> Axes:
    axis = int(node.get_attributes()["axis"]) % len(shape)
    return [
        concatenated([axes[k] for axes in inputs])
        if k == axis
        else joined([axes[k] for axes in inputs])
        for k in range(len(shape))
    ]


def _pad(node: Any, inputs: list[Axes], shape: list[int]) -> Axes:
    befores, mode = constant(node, 1), node.get_attributes()["pad_mode"]
    name = {"constant": "constant", "edge": "edge", "reflect": "reflect", "symmetric": "symmetric"}[
        mode
    ]
    sides = []
    for axis, n, before in zip(inputs[0], shape, befores, strict=True):
        size = size_of(axis)
        places = np.arange(n) - before
        if name != "constant" and size > 1:
            around = max(int(before), int(n - size - before), 0)
            wide = np.pad(np.arange(size), around, mode=name)  # type: ignore[call-overload]
            places = wide[places + around]
        sides.append(axis if n == size and before == 0 else taken(axis, places))
    return sides


def _slice(node: Any, inputs: list[Axes], shape: list[int]) -> Axes:
    begin, end, step = (constant(node, k).reshape(-1) for k in (1, 2, 3))
    axes = constant(node, 4).reshape(-1) if node.get_input_size() > 4 else np.arange(len(begin))
    rank = len(shape)
    parts = {}
    for a, b, e, s in zip(axes, begin, end, step, strict=True):
        size = size_of(inputs[0][int(a) % rank])
        stop = None if s < 0 and e < -size else int(e)  # before the first place
        parts[int(a) % rank] = slice(int(b), stop, int(s))
    return _sliced(inputs[0], parts)


def _sliced(image: Axes, parts: dict[int, slice]) -> Axes:
    return [
        taken(axis, np.arange(size_of(axis))[parts[k]]) if k in parts else axis
        for k, axis in enumerate(image)
    ]


def _gather(node: Any, inputs: list[Axes], shape: list[int]) -> Axes:
    index, axis = constant(node, 1), int(constant(node, 2).reshape(-1)[0])
    axis %= len(inputs[0])
    if index.ndim > 1:
        raise Unknown
    size = size_of(inputs[0][axis])
    places = np.where(index < 0, index + size, index)
    middle = [taken(inputs[0][axis], places.reshape(-1))] if index.ndim else []
    return [*inputs[0][:axis], *middle, *inputs[0][axis + 1 :]]


def _depth_to_space(node: Any, inputs: list[Axes], shape: list[int]) -> Axes:
    image = inputs[0]
    times = [n // size_of(a) for n, a in zip(shape[2:], image[2:], strict=True)]
    sides = [
        taken(a, np.repeat(np.arange(size_of(a)), t)) for a, t in zip(image[2:], times, strict=True)
    ]
    return [image[0], plain(shape[1]), *sides]


def _space_to_depth(node: Any, inputs: list[Axes], shape: list[int]) -> Axes:
    image = inputs[0]
    sides = [
        _windows(a, n, size_of(a) // n, size_of(a) // n, 0, 1)
        for a, n in zip(image[2:], shape[2:], strict=True)
    ]
    return [image[0], plain(shape[1]), *sides]


def split(node: Any, inputs: list[Axes]) -> list[Axes]:
    """The outputs of a split."""
    axis = int(constant(node, 1).reshape(-1)[0]) % len(inputs[0])
    outputs, start = [], 0
    for end in node.outputs():
        size = end.get_shape()[axis]
        places = slice(start, start + size)
        outputs.append(_sliced(inputs[0], {axis: places}))
        start += size
    return outputs


RULES: dict[str, Rule] = {
    "Convolution": _convolution,
    "GroupConvolution": _convolution,
    "ConvolutionBackpropData": _transposed,
    "GroupConvolutionBackpropData": _transposed,
    "MaxPool": _pool,
    "AvgPool": _pool,
    "Interpolate": _interpolated,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Squeeze": _reshape,
    "Unsqueeze": _reshape,
    "Concat": _concat,
    "Pad": _pad,
    "Slice": _slice,
    "Gather": _gather,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    **dict.fromkeys(POINTWISE, _pointwise),
}
