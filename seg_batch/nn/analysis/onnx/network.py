"""One input and one output of an ONNX file as a network of patches: which sides it takes, what a patch costs.

OpenVINO infers the shapes of its graph for a patch, which takes hundredths of a second; nothing is computed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

from seg_batch.config.card_parts.network import Network, Tensors
from seg_batch.core.errors import BundleError, InputError
from seg_batch.core.geometry import Shape
from seg_batch.nn.engines.onnx_file import read_whole
from seg_batch.nn.engines.openvino.library import openvino, openvino_core
from seg_batch.nn.engines.openvino.onnx_model import parsed_onnx

FINEST = 8  # output voxels per voxel and axis
_ROUND = 6720  # 2^6 3 5 7: a multiple of every stride that a network is likely to have
_STRIDES = [m for m in range(1, 257) if _ROUND % m == 0]
_PRIMES = (11, 13)
FLOAT_BYTES = 4
SLACK = 2.1  # as in `analysis.flops`: an engine takes its `activation_share` of it


@dataclass(frozen=True)
class PatchGrid:
    """The output for one patch: ``finer`` voxels per voxel and axis, less ``shrink`` voxels on each side."""

    finer: int
    shrink: tuple[int, ...]


@dataclass(frozen=True)
class PatchNetwork:
    """A network of ``channels`` to ``outputs`` per voxel. ``sides``: those that the file fixes, else None; ``batch`` too.
    ``model``: OpenVINO's, channels last, without the activation that a card may ask for."""

    path: Path
    model: Any
    batch: int | None
    sides: tuple[int | None, ...]
    channels: int
    outputs: int

    @property
    def rank(self) -> int:
        return len(self.sides)

    def output_sides(self, patch: Sequence[int]) -> tuple[int, ...] | None:
        """The sides of the output for a patch; None if the network can't take it, or its output has no one size."""
        try:
            shape = self.sized(patch).output(0).partial_shape
        except RuntimeError:
            return None
        return tuple(shape.to_shape())[1:-1] if shape.is_static else None

    def sized(self, patch: Sequence[int]) -> Any:
        """The model for one patch, with every shape known that follows from it; RuntimeError where it does not fit."""
        model = self.model.clone()
        model.reshape([self.batch or 1, *patch, self.channels])
        return model

    def grid(self, patch: Sequence[int]) -> PatchGrid | None:
        """Where the output of a patch lies; None if the network can't take it, or if that is no grid: some
        whole number of times finer along all axes, or smaller by as much at both ends."""
        sides = self.output_sides(patch)
        if sides is None or min(sides, default=0) < 1:
            return None
        pairs = list(zip(sides, patch, strict=True))
        times = {out / side for out, side in pairs}
        if len(times) == 1 and (finer := times.pop()).is_integer():
            return PatchGrid(int(finer), (0,) * self.rank) if finer <= FINEST else None
        less = [side - out for out, side in pairs]
        if min(less) < 0 or any(n % 2 for n in less):
            return None
        return PatchGrid(1, tuple(n // 2 for n in less))

    @cached_property
    def multiples(self) -> Shape | None:
        """The step of each side of a patch (every multiple fits; of a fixed side: itself); None if no step up to 256
        fits, as where the output is smaller and its layers halve: then only some patches fit."""
        steps = [
            side or next((m for m in _STRIDES if self._fits(axis, m)), 0)
            for axis, side in enumerate(self.sides)
        ]
        return tuple(steps) if all(steps) else None

    def _fits(self, axis: int, multiple: int) -> bool:
        even = [side or _ROUND for side in self.sides]
        patches = ([*even[:axis], multiple * prime, *even[axis + 1 :]] for prime in _PRIMES)
        grids = {self.grid(sides) for sides in patches}
        return len(grids) == 1 and None not in grids

    def flops(self, patch: Sequence[int]) -> float:
        """Multiply-adds x 2 of all convolutions and matrix products for one patch."""
        work = sum(_multiply_adds(node) for node in self.sized(patch).get_ordered_ops())
        return 2.0 * work / (self.batch or 1)

    def activation_bytes(self, patch: Sequence[int]) -> int:
        """Upper estimate of the memory of one patch while the model runs, in bytes of float32, without weights."""
        nodes = [n for n in folded(self.sized(patch)).get_ordered_ops() if not _is_constant(n)]
        waiting = Counter(_key(i.get_source_output()) for node in nodes for i in node.inputs())
        alive = most = 0
        for node in nodes:
            alive += sum(_bytes(tensor) for tensor in node.outputs())
            most = max(most, alive)
            for end in node.inputs():
                source = end.get_source_output()
                waiting[_key(source)] -= 1
                if not waiting[_key(source)] and not _is_constant(source.get_node()):
                    alive -= _bytes(source)
        return int(SLACK * most)


def opened(path: Path, tensors: Tensors) -> PatchNetwork:
    """The network of these tensors in an ONNX file without external data. InputError, in one line, where OpenVINO does not
    read it, or where the tensors are none of patches."""
    try:
        model = parsed_onnx(openvino_core(), read_whole(path, None), str(path), Network(tensors))
    except BundleError as error:
        raise InputError(str(error)) from None
    image, scores = model.input(0).partial_shape, model.output(0).partial_shape
    batch, *sides = [n.get_length() if n.is_static else None for n in list(image)[:-1]]
    channels, outputs = image[-1], scores[-1]
    if not (channels.is_static and outputs.is_static):
        raise InputError(
            f"{path} leaves its channels or classes open: export it with the batch and the sides alone open"
        )
    return PatchNetwork(
        path, model, batch, tuple(sides), channels.get_length(), outputs.get_length()
    )


def folded(model: Any) -> Any:
    """The model, changed: what depends on shapes alone is a constant."""
    manager = openvino.passes.Manager()
    manager.register_pass(openvino.passes.ConstantFolding())
    manager.run_passes(model)
    return model


def _is_constant(node: Any) -> bool:
    return bool(node.get_type_name() == "Constant")


def _key(tensor: Any) -> tuple[str, int]:
    return tensor.get_node().get_name(), tensor.get_index()


def _bytes(tensor: Any) -> int:
    shape = tensor.get_partial_shape()
    return FLOAT_BYTES * prod(shape.to_shape()) if shape.is_static else 0


def _multiply_adds(node: Any) -> int:
    """Each weight of a kernel is used once per voxel: of the output or, if transposed, of the input."""
    kind = node.get_type_name()
    shapes = [node.input_value(i).get_partial_shape() for i in range(node.get_input_size())]
    if kind.endswith("MatMul") and all(s.is_static for s in shapes):
        left = list(shapes[0].to_shape())
        inner = left[-2] if node.get_attributes().get("transpose_a") else left[-1]
        return int(prod(node.output(0).get_shape()) * inner)
    if "Convolution" not in kind or not shapes[1].is_static:
        return 0
    side = shapes[0] if "Backprop" in kind else node.output(0).get_partial_shape()
    if not side.is_static:
        return 0
    batch, _, *sides = side.to_shape()
    return int(batch * prod(sides) * prod(shapes[1].to_shape()))
