"""The receptive field of a network, computed from its graph.

An output voxel depends on an interval of input voxels per axis. For a line of voxels along one
axis, every tensor gets two rows of numbers: the first and the last input voxel that each of its
voxels depends on. A layer maps rows to rows (a convolution takes the least and the greatest under
its kernel, up-sampling repeats, a sum takes the wider of both). The result is exact for every phase
of strides and up-samplings, where the usual formula of steps and jumps is only an upper bound.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from seg_batch.nn.analysis.global_layers import findings
from seg_batch.nn.analysis.graph import Step, inner, steps
from seg_batch.nn.analysis.lines import FIRST, LAST, Line, Unknown, merged
from seg_batch.nn.backend import keras


def receptive_field(model: keras.Model) -> tuple[int | None, ...]:
    """The most input voxels per axis that one output voxel can depend on.

    None for an axis along which a layer depends on the whole patch, or is of an unknown class.
    """
    axes = range(len(model.inputs[0].shape) - 2)
    if findings(model):
        return tuple(None for _ in axes)
    return tuple(_along(model, axis) for axis in axes)


def _along(model: keras.Model, axis: int) -> int | None:
    """The field along one axis; the line is doubled until its ends no longer cut the field."""
    fixed, length = model.inputs[0].shape[axis + 1], FIRST
    while length <= LAST:
        places = np.arange(fixed or length)
        try:
            lines = _through(model, [Line(places, places)] * len(model.inputs), axis)
        except Unknown:
            return None
        width = max(line.width for line in lines)
        if fixed or 2 * width <= length:
            return None if fixed == width else width
        length *= 2
    return None


def _through(model: keras.Model, lines: Sequence[Line], axis: int) -> list[Line]:
    """The lines of the outputs of a model, given those of its inputs."""
    known = {id(tensor): line for tensor, line in zip(model.inputs, lines, strict=True)}
    for step in (step for step in steps(model) if step.inputs):
        if any(id(tensor) not in known for tensor in step.inputs):
            raise Unknown
        before = [known[id(tensor)] for tensor in step.inputs]
        part = inner(step.layer)
        after = _through(part, before, axis) if part else [_after(step, before, axis)]
        known.update(zip(map(id, step.outputs), after, strict=True))
    return [known[id(tensor)] for tensor in model.outputs]


# Layers whose output voxel depends on the input voxels at the same place only.
_POINTWISE = {
    *("Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "Softmax", "Identity", "Dense", "Maximum"),
    *("BatchNormalization", "LayerNormalization", "UnitNormalization", "Normalization", "Minimum"),
    *("Rescaling", "Dropout", "SpatialDropout2D", "SpatialDropout3D", "GaussianNoise", "Subtract"),
    *("GaussianDropout", "AlphaDropout", "RMSNormalization", "Add", "Multiply", "Average"),
    *("Concatenate", "Divide", "TrueDivide", "Relu", "Relu6", "Sigmoid", "HardSigmoid", "Silu"),
    *("HardSilu", "Tanh", "Cast", "Absolute", "Negative", "Clip", "Exp", "Log", "Sqrt", "Square"),
    *("Power", "Gelu", "Elu", "Softplus", "LeakyRelu", "DropPath", "LogSoftmax", "ActivityRegularization"),
}  # fmt: skip


def _after(step: Step, lines: list[Line], axis: int) -> Line:
    layer: Any = step.layer
    name = type(layer).__name__
    if name == "Concatenate" and layer.axis % len(step.inputs[0].shape) == axis + 1:
        raise Unknown
    if name in _POINTWISE:
        return merged(lines)
    (line,) = lines if len(lines) == 1 else [merged(lines)]
    if name.endswith("Transpose"):
        return _transposed(line, layer, axis)
    if "Conv" in name and hasattr(layer, "kernel_size"):
        return _windows(line, layer, layer.kernel_size[axis], axis)
    if name.startswith(("MaxPooling", "AveragePooling")):
        return _windows(line, layer, layer.pool_size[axis], axis)
    if name.startswith("UpSampling"):
        return _enlarged(line, layer, axis)
    if name.startswith("ZeroPadding"):
        before, after = _pair(layer.padding, axis)
        return line.taken(np.arange(-before, len(line.first) + after))
    if name.startswith("Cropping"):
        before, after = _pair(layer.cropping, axis)
        return line.taken(np.arange(before, len(line.first) - after))
    raise Unknown


def _windows(line: Line, layer: Any, size: int, axis: int) -> Line:
    """``out[q]`` sees ``in[q * stride - before + k * dilation]`` for k below `size`."""
    stride = _along_axis(layer.strides, axis)
    dilation = _along_axis(getattr(layer, "dilation_rate", 1), axis)
    n, span = len(line.first), (size - 1) * dilation + 1
    if layer.padding == "same":
        count = -(-n // stride)
        before = max((count - 1) * stride + span - n, 0) // 2
    else:
        count, before = (n - span) // stride + 1, 0
    starts = np.arange(count) * stride - before
    return merged([line.taken(starts + k * dilation) for k in range(size)])


def _transposed(line: Line, layer: Any, axis: int) -> Line:
    """``out[i * stride - before + k * dilation]`` sees ``in[i]``; the other way round, per output."""
    if getattr(layer, "output_padding", None) is not None:
        raise Unknown
    size, stride = layer.kernel_size[axis], _along_axis(layer.strides, axis)
    dilation = _along_axis(layer.dilation_rate, axis)
    n, span = len(line.first), (size - 1) * dilation + 1
    over = max(span - stride, 0)
    same = layer.padding == "same"
    places = np.arange(n * stride + (0 if same else over)) + (over // 2 if same else 0)
    back = [np.divmod(places - k * dilation, stride) for k in range(size)]
    return merged([line.taken(np.where(rest == 0, i, -1)) for i, rest in back])


def _enlarged(line: Line, layer: Any, axis: int) -> Line:
    """Up-sampling: nearest repeats voxels; bilinear interpolates between the nearest centres."""
    factor = _along_axis(layer.size, axis)
    places = np.arange(len(line.first) * factor)
    interpolation = getattr(layer, "interpolation", "nearest")
    if interpolation == "nearest":
        return line.taken(places // factor)
    if interpolation != "bilinear":
        raise Unknown
    centres = (places + 0.5) / factor - 0.5
    ends = (np.floor(centres), np.ceil(centres))
    inside = [np.clip(end, 0, len(line.first) - 1).astype(np.int64) for end in ends]
    return merged([line.taken(end) for end in inside])


def _along_axis(value: Any, axis: int) -> int:
    return int(value[axis]) if isinstance(value, (list, tuple)) else int(value)


def _pair(value: Any, axis: int) -> tuple[int, int]:
    """(before, after) of a padding or a cropping."""
    pair = value[axis]
    before, after = pair if isinstance(pair, (list, tuple)) else (pair, pair)
    return int(before), int(after)
