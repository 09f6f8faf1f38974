"""Layers that make each result depend on the whole patch, found in the graph.

A network of local convolutions and poolings gives a voxel the same result in every patch that holds
its receptive field: patches with enough overlap agree, and blending removes the seam. A layer that
reads all positions at once (their mean, their spread, attention) breaks this: neighbouring patches
differ everywhere by an offset that blending does not remove. A well trained network may hardly show
it; the measured seams of a card tell.
"""

from collections.abc import Iterator
from typing import Any

from seg_batch.config.card import WHOLE_PATCH
from seg_batch.nn.analysis.finding import Finding
from seg_batch.nn.analysis.graph import Step, inner, steps
from seg_batch.nn.backend import keras

type KindAndReason = tuple[str, str] | None


def findings(model: keras.Model) -> tuple[Finding, ...]:
    """The global layers of `model` and of the models inside it, in the order they run."""
    return tuple(dict.fromkeys(_findings(model)))


def for_card(model: keras.Model) -> dict[str, list[str]]:
    """The card's entry beside the architecture; empty without global layers."""
    lines = [finding.line for finding in findings(model)]
    return {WHOLE_PATCH: lines} if lines else {}


def _findings(model: keras.Model, prefix: str = "") -> Iterator[Finding]:
    every = list(steps(model))
    for step in (step for step in every if step.inputs):
        if (part := inner(step.layer)) is not None:
            yield from _findings(part, f"{prefix}{step.name}/")
        elif (reason := _reason(step, every)) is not None:
            yield Finding(f"{prefix}{step.name}", *reason)


def _reason(step: Step, every: list[Step]) -> KindAndReason:
    """Kind and reason, by the class and the axes of a layer; None for a local layer."""
    name = type(step.layer).__name__
    if not any(_has_space(tensor) for tensor in step.inputs):
        return None
    if name.startswith(("GlobalAveragePooling", "GlobalMaxPooling", "AdaptiveA", "AdaptiveM")):
        if _weighs(step, every):
            return "squeeze-and-excitation", "channels are weighed by a mean over the whole patch"
        return "global pooling", "every place gets the same mean or maximum of the whole patch"
    for rule in (_normalisation, _reduction, _mixing):
        if (reason := rule(step, name)) is not None:
            return reason
    return None


_LAYER_NORM = "layer normalisation over space", "values are scaled by those of the whole patch"
_IF_OVER_SPACE = {
    "LayerNormalization": _LAYER_NORM,
    "UnitNormalization": _LAYER_NORM,
    "RMSNormalization": _LAYER_NORM,
    "Softmax": ("softmax over space", "the places of a patch share one sum"),
}


def _normalisation(step: Step, name: str) -> KindAndReason:
    layer: Any = step.layer
    if name in ("GroupNormalization", "GroupNorm"):
        whole = int(layer.groups) in (-1, int(step.inputs[0].shape[layer.axis]))
        kind = "instance normalisation" if whole else "group normalisation"
        return kind, "values are scaled by mean and spread of the whole patch"
    return _IF_OVER_SPACE[name] if name in _IF_OVER_SPACE and _over_space(step) else None


_REDUCTIONS = {
    *("Mean", "Max", "Min", "Sum", "Prod", "Std", "Var", "Median", "Quantile"),
    *("Logsumexp", "LogSumExp", "Amax", "Amin", "Norm", "Average", "CountNonzero"),
}


def _reduction(step: Step, name: str) -> KindAndReason:
    """Operations of ``keras.ops``, which a graph holds beside layers."""
    if isinstance(step.layer, keras.Layer) or name not in _REDUCTIONS or not _over_space(step):
        return None
    return "reduction over space", f"{name.lower()} of all places of the patch"


def _mixing(step: Step, name: str) -> KindAndReason:
    layer: Any = step.layer
    if name in ("MultiHeadAttention", "GroupQueryAttention", "Attention", "AdditiveAttention"):
        return "attention", "every place looks at every other place of the patch"
    if name == "Flatten" or (name == "Permute" and layer.dims[-1] != len(layer.dims)):
        kind = "flattening" if name == "Flatten" else "permutation"
        return kind, "places become channels, so that what follows mixes all of them"
    if isinstance(layer, (keras.layers.RNN, keras.layers.Bidirectional)):
        return "recurrence", "every place remembers the places before it"
    if name == "Resizing" and None in step.inputs[0].shape[1:-1]:
        return "resizing to a fixed size", "what a voxel becomes depends on the size of the patch"
    return None


def _has_space(tensor: Any) -> bool:
    """Whether a tensor ``(B, *s, C)`` has a side that is not 1."""
    return len(tensor.shape) > 2 and any(side != 1 for side in tensor.shape[1:-1])


def _over_space(step: Step) -> bool:
    """Whether a layer works on spatial axes; an axis of None means all axes."""
    axis, rank = getattr(step.layer, "axis", -1), len(step.inputs[0].shape)
    if axis is None:
        return True
    axes = axis if isinstance(axis, (list, tuple)) else [axis]
    return any(int(a) % rank not in (0, rank - 1) for a in axes)


def _weighs(pool: Step, every: list[Step]) -> bool:
    """Whether the pooled values are multiplied with a tensor that has space."""
    todo = list(pool.outputs)
    while todo:
        tensor = todo.pop()
        for step in (step for step in every if any(tensor is t for t in step.inputs)):
            if not _has_space(step.outputs[0]):
                todo.extend(step.outputs)
            elif type(step.layer).__name__ == "Multiply":
                return True
    return False
