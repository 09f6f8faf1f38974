"""Layers that make the result of a patch depend on the whole patch, found by reading the graph.

A network that only convolves and pools locally gives a voxel the same result in any patch that holds
its receptive field; two patches that overlap far enough agree, and a seam can be blended away. A
layer that looks at all places at once (their mean, their spread, each at each other) breaks that:
neighbouring patches disagree everywhere, by an offset that no blending removes. That is not wrong,
and a well trained network may hardly show it; the measured seams stand beside.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from seg_batch.config.card import WHOLE_PATCH
from seg_batch.nn.analysis.graph import Step, inner, steps
from seg_batch.nn.backend import keras


@dataclass(frozen=True)
class Finding:
    """`layer`, by name; the `kind` of layer; `why` its result depends on the whole patch."""

    layer: str
    kind: str
    why: str

    @property
    def line(self) -> str:
        return f"{self.layer} ({self.kind}): {self.why}"


type Found = tuple[str, str] | None


def findings(model: keras.Model) -> tuple[Finding, ...]:
    """What of `model`, and of the models inside it, sees the whole patch; in the order it runs."""
    return tuple(dict.fromkeys(_found(model)))


def for_card(model: keras.Model) -> dict[str, list[str]]:
    """What the card says of it beside the architecture; nothing where nothing is found."""
    found = [finding.line for finding in findings(model)]
    return {WHOLE_PATCH: found} if found else {}


def _found(model: keras.Model, prefix: str = "") -> Iterator[Finding]:
    every = list(steps(model))
    for step in (step for step in every if step.inputs):
        if (part := inner(step.layer)) is not None:
            yield from _found(part, f"{prefix}{step.name}/")
        elif (reason := _reason(step, every)) is not None:
            yield Finding(f"{prefix}{step.name}", *reason)


def _reason(step: Step, every: list[Step]) -> Found:
    """Kind and reason by the class of the layer and the axes it works on; None for a local one."""
    name = type(step.layer).__name__
    if not any(_has_space(tensor) for tensor in step.inputs):
        return None
    if name.startswith(("GlobalAveragePooling", "GlobalMaxPooling", "AdaptiveA", "AdaptiveM")):
        return _pooling(step, every)
    for rule in (_normalisation, _reduction, _mixing):
        if (found := rule(step, name)) is not None:
            return found
    return None


def _pooling(step: Step, every: list[Step]) -> Found:
    if _weighs(step, every):
        return "squeeze-and-excitation", "channels are weighed by a mean over the whole patch"
    return "global pooling", "every place gets the same mean or maximum of the whole patch"


def _normalisation(step: Step, name: str) -> Found:
    layer: Any = step.layer
    if name in ("GroupNormalization", "GroupNorm"):
        whole = int(layer.groups) in (-1, int(step.inputs[0].shape[layer.axis]))
        kind = "instance normalisation" if whole else "group normalisation"
        return kind, "values are scaled by mean and spread of the whole patch"
    if name in ("LayerNormalization", "UnitNormalization", "RMSNormalization") and _over_space(
        step
    ):
        return "layer normalisation over space", "values are scaled by those of the whole patch"
    if name == "Softmax" and _over_space(step):
        return "softmax over space", "the places of a patch share one sum"
    return None


_REDUCTIONS = {
    *("Mean", "Max", "Min", "Sum", "Prod", "Std", "Var", "Median", "Quantile"),
    *("Logsumexp", "LogSumExp", "Amax", "Amin", "Norm", "Average", "CountNonzero"),
}


def _reduction(step: Step, name: str) -> Found:
    """Operations of ``keras.ops``, which are in a graph beside layers."""
    if isinstance(step.layer, keras.Layer) or name not in _REDUCTIONS or not _over_space(step):
        return None
    return "reduction over space", f"{name.lower()} of all places of the patch"


def _mixing(step: Step, name: str) -> Found:
    layer: Any = step.layer
    if name in ("MultiHeadAttention", "GroupQueryAttention", "Attention", "AdditiveAttention"):
        return "attention", "every place looks at every other place of the patch"
    if name == "Flatten":
        return "flattening", "places become channels, so that what follows mixes all of them"
    if name == "Permute" and layer.dims[-1] != len(layer.dims):
        return "permutation", "places become channels, so that what follows mixes all of them"
    if isinstance(layer, (keras.layers.RNN, keras.layers.Bidirectional)):
        return "recurrence", "every place remembers the places before it"
    if name == "Resizing" and None in step.inputs[0].shape[1:-1]:
        return "resizing to a fixed size", "what a voxel becomes depends on the size of the patch"
    return None


def _has_space(tensor: Any) -> bool:
    """Whether a tensor has more than one place: ``(B, *s, C)`` with some side that is not 1."""
    return len(tensor.shape) > 2 and any(side != 1 for side in tensor.shape[1:-1])


def _over_space(step: Step) -> bool:
    """Whether the axes of a layer are others than that of the channels; None is all of them."""
    axis, rank = getattr(step.layer, "axis", -1), len(step.inputs[0].shape)
    if axis is None:
        return True
    axes = axis if isinstance(axis, (list, tuple)) else [axis]
    return any(int(one) % rank not in (0, rank - 1) for one in axes)


def _weighs(pool: Step, every: list[Step]) -> bool:
    """Whether what was pooled is multiplied with something that has space."""
    todo = list(pool.outputs)
    while todo:
        tensor = todo.pop()
        for step in (step for step in every if any(tensor is one for one in step.inputs)):
            if not _has_space(step.outputs[0]):
                todo.extend(step.outputs)
            elif type(step.layer).__name__ == "Multiply":
                return True
    return False
