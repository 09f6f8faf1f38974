"""The layers of a model as a graph: which layer reads which tensor of which layer.

Only this module uses Keras' private attributes of functional models.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from seg_batch.nn.backend import keras


@dataclass(frozen=True)
class Step:
    """One application of one layer; a shared layer has several. Tensors are symbolic."""

    layer: keras.Layer
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]

    @property
    def name(self) -> str:
        return str(self.layer.name)

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the layers that made the inputs."""
        return tuple(maker(tensor) for tensor in self.inputs)


def maker(tensor: Any) -> str:
    """Name of the layer that made a symbolic tensor."""
    return str(tensor._keras_history.operation.name)


def inner(layer: Any) -> keras.Model | None:
    """The functional model that a layer is or, as a Sequential, contains; None for other layers."""
    model = getattr(layer, "_functional", None) or layer
    return model if hasattr(model, "_nodes_by_depth") else None


def steps(model: keras.Model) -> Iterator[Step]:
    """All steps of `model` in topological order; the input layers come first."""
    model = inner(model) or model
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            yield Step(node.operation, tuple(node.input_tensors), tuple(node.output_tensors))


def first_weighted(model: keras.Model) -> set[str]:
    """Names of the first layers with weights; layers without (padding) may lie before them."""
    passed, first = {maker(model.inputs[0])}, set[str]()
    for step in steps(model):
        if step.sources and passed.issuperset(step.sources):
            (first if getattr(step.layer, "weights", ()) else passed).add(step.name)
    return first
