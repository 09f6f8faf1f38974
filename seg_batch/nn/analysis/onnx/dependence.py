"""What an output voxel of an ONNX network depends on: layers that see the whole patch, the receptive field.

The graph is walked once for a patch of known sides; every axis of every tensor knows along which side of the image it
runs (`parts`). A sum, a maximum or a softmax over such an axis is a global layer, by whatever operators it is
written: instance normalisation, pooling, attention, flattening. See `analysis.global_layers` for why that matters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from seg_batch.nn.analysis.finding import Finding
from seg_batch.nn.analysis.lines import FIRST, LAST, Line, Unknown
from seg_batch.nn.analysis.onnx.layers import RULES, Axes, constant, split
from seg_batch.nn.analysis.onnx.network import PatchNetwork, folded
from seg_batch.nn.analysis.onnx.parts import Part, plain, sides_of, size_of

_MEAN = "every place gets the same mean or maximum of the whole patch"
_SPREAD = "values are scaled by mean and spread of the whole patch"
_LOOKS = "every place looks at every other place of the patch"
_SQUEEZE = ("squeeze-and-excitation", "channels are weighed by a mean over the whole patch")


def global_layers(network: PatchNetwork, patch: Sequence[int]) -> tuple[Finding, ...]:
    """The layers of the network that see a whole patch of these sides, in the order they run."""
    walk = _Walk.over(network, patch)
    fixed = _resized_to_fixed(network)
    return tuple(dict.fromkeys([*walk.findings.values(), *fixed]))


def receptive_field(network: PatchNetwork, patch: Sequence[int]) -> tuple[int | None, ...]:
    """An upper bound of the input voxels per axis that one output voxel depends on; None for an axis along which a layer
    sees the whole patch, or an operator is not known."""
    if global_layers(network, patch):
        return (None,) * network.rank
    return tuple(_along(network, patch, axis) for axis in range(network.rank))


def _along(network: PatchNetwork, patch: Sequence[int], axis: int) -> int | None:
    """The field along one axis; the line is doubled until its ends no longer cut the field."""
    fixed, length = network.sides[axis], FIRST
    step = network.multiples[axis] if network.multiples else 1
    while length <= LAST:
        side = fixed or -(-length // step) * step
        walk = _Walk.over(network, [*patch[:axis], side, *patch[axis + 1 :]], axis)
        parts = [part for a in walk.result for part in a if part.side == axis and part.line]
        if walk.unknown or not parts:
            return None
        width = max(part.line.width for part in parts if part.line)
        if fixed or 2 * width <= side:
            return None if fixed and fixed <= width else width
        length *= 2
    return None


@dataclass
class _Traced:
    """A tensor: its axes, and which findings its values are of where no axis is of the image."""

    axes: Axes
    of: frozenset[str] = frozenset()

    @property
    def spatial(self) -> bool:
        return any(map(sides_of, self.axes))


@dataclass
class _Walk:
    """``findings`` by node; ``unknown``: whether an operator without a rule was met."""

    findings: dict[str, Finding] = field(default_factory=dict)
    unknown: bool = False
    result: Axes = field(default_factory=list)

    @classmethod
    def over(cls, network: PatchNetwork, patch: Sequence[int], axis: int | None = None) -> _Walk:
        """The graph for one patch. ``axis``: the only side that is followed; None: all."""
        walk, known = cls(), dict[tuple[str, int], _Traced]()
        try:
            model = folded(network.sized(patch))
        except RuntimeError:
            walk.unknown = True
            return walk
        for node in model.get_ordered_ops():
            sources = [node.input_value(i) for i in range(node.get_input_size())]
            inputs = [known[s.get_node().get_name(), s.get_index()] for s in sources]
            if node.get_type_name() == "Parameter":
                outputs = [_Traced(_image(list(node.get_output_shape(0)), axis))]
            else:
                outputs = walk._through(node, inputs)
            if node.get_type_name() == "Result":
                walk.result = inputs[0].axes
            known |= {(node.get_name(), k): out for k, out in enumerate(outputs)}
        return walk

    def _through(self, node: Any, inputs: list[_Traced]) -> list[_Traced]:
        shapes = [_shape(end) for end in node.outputs()]
        if not any(t.spatial for t in inputs):
            of = frozenset(chain.from_iterable(t.of for t in inputs))
            return [_Traced([plain(n) for n in shape], of) for shape in shapes]
        self._name_squeezes(node, inputs)
        axes = [t.axes for t in inputs]
        finding = _finding(node, axes)
        if finding is not None:
            self.findings[node.get_name()] = finding
        return [_Traced(a) if any(map(sides_of, a)) else _Traced(a, self._here(node))
                for a in self._outputs(node, axes, shapes)]  # fmt: skip

    def _here(self, node: Any) -> frozenset[str]:
        return frozenset({node.get_name()} & self.findings.keys())

    def _name_squeezes(self, node: Any, inputs: list[_Traced]) -> None:
        """Pooled values that channels are multiplied with have a name of their own."""
        if node.get_type_name() != "Multiply":
            return
        for name in chain.from_iterable(t.of for t in inputs):
            if self.findings[name].kind == "global pooling":
                self.findings[name] = Finding(self.findings[name].layer, *_SQUEEZE)

    def _outputs(self, node: Any, axes: list[Axes], shapes: list[list[int]]) -> list[Axes]:
        kind = node.get_type_name()
        try:
            if kind in ("Split", "VariadicSplit"):
                return split(node, axes)
            if kind in _REDUCTIONS:
                return [_without(axes[0], _reduced(node), shapes[0])]
            if kind == "MatMul":
                return [_product(node, axes, shapes[0])]
            if kind in (*_NORMALISATIONS, "Softmax", "LogSoftmax"):
                return [axes[0]]
            return [RULES[kind](node, axes, shape) for shape in shapes]
        except (Unknown, LookupError, ValueError, TypeError):
            self.unknown = True
            return [_kept(axes, shape) for shape in shapes]


_REDUCTIONS = {
    *("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceProd", "ReduceL1", "ReduceL2"),
    *("ReduceLogicalAnd", "ReduceLogicalOr"),
}
_NORMALISATIONS = ("MVN", "NormalizeL2", "GroupNormalization", "RMS")


def _finding(node: Any, inputs: list[Axes]) -> Finding | None:
    """What of the whole patch an operator sees; None for a local one."""
    kind, image = node.get_type_name(), inputs[0]
    try:
        if kind in _REDUCTIONS:
            over = [image[k] for k in _reduced(node)]
            return _named(node, "global pooling", _MEAN) if any(map(sides_of, over)) else None
        if kind in _NORMALISATIONS:
            over = image[1:] if kind == "GroupNormalization" else [image[k] for k in _reduced(node)]
            return _normalisation(node, over)
        if kind in ("Softmax", "LogSoftmax"):
            over = [image[int(node.get_attributes()["axis"])]]
            return _named(node, "softmax over space", _LOOKS) if any(map(sides_of, over)) else None
        if kind == "MatMul":
            return _mixing(node, inputs)
    except (Unknown, LookupError, ValueError):
        return None
    if kind in ("LSTMSequence", "GRUSequence", "RNNSequence", "Loop", "TensorIterator"):
        return _named(node, "recurrence", "every place remembers the places before it")
    if kind in ("ScaledDotProductAttention",) and sides_of(image[-2]):
        return _named(node, "attention", _LOOKS)
    return None


def _normalisation(node: Any, over: Axes) -> Finding | None:
    if not any(map(sides_of, over)):
        return None
    more = any(part.plain for axis in over for part in axis)
    return _named(node, f"{'group' if more else 'instance'} normalisation", _SPREAD)


def _mixing(node: Any, inputs: list[Axes]) -> Finding | None:
    (_, inner), (_, other) = _sides_of_product(node, inputs)
    if not (sides_of(inner) or sides_of(other)):
        return None
    if any(i.get_source_output().get_node().get_type_name() == "Constant" for i in node.inputs()):
        return _named(
            node, "flattening", "places become channels, and what follows mixes all of them"
        )
    return _named(node, "attention", _LOOKS)


def _sides_of_product(node: Any, inputs: list[Axes]) -> list[tuple[Any, Any]]:
    """Outer and inner axis of both factors."""
    it = node.get_attributes()
    left, right = inputs[0][-2:], inputs[1][-2:]
    left = left[::-1] if it.get("transpose_a") else left
    right = right if it.get("transpose_b") else right[::-1]
    return [(left[0], left[1]), (right[0], right[1])]


def _product(node: Any, inputs: list[Axes], shape: list[int]) -> Axes:
    if min(map(len, inputs)) < 2:
        raise Unknown
    (rows, _), (columns, _) = _sides_of_product(node, inputs)
    stacks = [[plain(1)] * (len(shape) - len(axes)) + axes[:-2] for axes in inputs]
    before = RULES["Add"](node, stacks, shape[:-2])
    return [*before, rows, columns]


def _reduced(node: Any) -> list[int]:
    rank = len(node.input_value(0).get_partial_shape())
    if node.get_input_size() < 2:  # an older MVN
        return list(range(1 if node.get_attributes().get("across_channels") else 2, rank))
    return [int(k) % rank for k in constant(node, 1).reshape(-1)]


def _without(image: Axes, gone: list[int], shape: list[int]) -> Axes:
    if len(shape) == len(image):
        return [() if k in gone else axis for k, axis in enumerate(image)]
    return [axis for k, axis in enumerate(image) if k not in gone]


def _kept(inputs: list[Axes], shape: list[int]) -> Axes:
    same = (axes for axes in inputs if [size_of(a) for a in axes] == shape)
    return next(same, [plain(n) for n in shape])


def _image(shape: list[int], axis: int | None) -> Axes:
    batch, *sides, channels = shape
    return [plain(batch), *(_side(k, n, axis) for k, n in enumerate(sides)), plain(channels)]


def _side(k: int, size: int, axis: int | None) -> tuple[Part, ...]:
    places = np.arange(size)
    followed = size > 1 and axis in (None, k)
    return (Part(size, k, Line(places, places)),) if followed else plain(size)


def _shape(end: Any) -> list[int]:
    shape = end.get_partial_shape()
    if shape.rank.is_dynamic:
        return []
    return [n.get_length() if n.is_static else 1 for n in shape]


def _named(node: Any, kind: str, why: str) -> Finding:
    """A finding under the name that the file has for the node, or for the first after it that has one."""
    named = node
    while _is_automatic(named, name := named.get_friendly_name()):
        readers = [end.get_node() for out in named.outputs() for end in out.get_target_inputs()]
        if len(readers) != 1 or readers[0].get_type_name() == "Result":
            name = node.get_type_name()
            break
        named = readers[0]
    return Finding(name[:200], kind, why)


def _is_automatic(node: Any, name: str) -> bool:
    """Whether OpenVINO made the name, with a number that is another one each time."""
    return re.fullmatch(rf"{node.get_type_name()}_\d+", name) is not None


def _resized_to_fixed(network: PatchNetwork) -> list[Finding]:
    """Enlargements to sides that are written into a file whose own sides are open."""
    findings = []
    for node in network.model.get_ordered_ops():
        if node.get_type_name() == "Interpolate":
            before, after = (
                node.input_value(0).get_partial_shape(),
                node.get_output_partial_shape(0),
            )
            pairs = zip(list(before)[1:], list(after)[1:], strict=True)
            if any(a.is_dynamic and b.is_static for a, b in pairs):
                why = "what a voxel becomes depends on the size of the patch"
                findings.append(_named(node, "resizing to a fixed size", why))
    return findings
