"""Batch normalisation folded into the convolution before it, for inference.

With frozen statistics ``BN(conv(x)) = (conv(x) - mean) * scale + beta``, where
``scale = gamma / sqrt(variance + epsilon)``. This equals a convolution with kernel
``kernel * scale`` and bias ``(bias - mean) * scale + beta``. An ANU-Net loses half of its layers,
and TensorFlow fuses the rest (convolution, bias, ReLU) into single operations.

Any functional model will do. A batch normalisation stays if it does not directly follow a linear
convolution, or if other layers read that convolution too.
"""

from typing import Any

import numpy as np

from seg_batch.nn.analysis.graph import maker, steps
from seg_batch.nn.backend import keras

_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.Conv3D)
_SEPARATE = (keras.layers.SeparableConv2D, keras.layers.DepthwiseConv2D)
_TRANSPOSED = (keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)


def fold_batchnorm(model: keras.Model, dtype: str | None = None) -> keras.Model:
    """A new model with the same outputs (within rounding) and fewer layers.

    `dtype`: the Keras dtype policy of all layers but the outputs, such as ``"mixed_bfloat16"``;
    None keeps the policy of every layer.
    """
    pairs = _foldable(model)
    heads = {maker(tensor) for tensor in model.outputs}

    def copy(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        if dtype is not None and may_change(layer, heads):
            config["dtype"] = dtype
        if layer.name in pairs.values():
            config["use_bias"] = True
        return layer.__class__.from_config(config)

    def call(layer: keras.Layer, *inputs: Any, **options: Any) -> Any:
        return inputs[0] if layer.name in pairs else layer(*inputs, **options)

    folded = keras.models.clone_model(model, clone_function=copy, call_function=call)
    norm_of = {conv: norm for norm, conv in pairs.items()}
    for source in model.layers:
        if source.name in norm_of:
            norm = model.get_layer(norm_of[source.name])
            folded.get_layer(source.name).set_weights(_folded_weights(source, norm))
        elif source.weights and source.name not in pairs:
            folded.get_layer(source.name).set_weights(source.get_weights())
    return folded


def may_change(layer: Any, heads: set[str]) -> bool:
    """Whether the dtype of a layer may change: not of outputs, logits and bare operations."""
    last = layer.name in heads or layer.name.startswith("head_")
    return isinstance(layer, keras.Layer) and not last


def _foldable(model: keras.Model) -> dict[str, str]:
    """Names of the batch normalisations that can be folded, each with its convolution."""
    sources: dict[str, set[str]] = {}
    readers: dict[str, set[str]] = {maker(tensor): {"output"} for tensor in model.outputs}
    for step in steps(model):
        for source in step.sources:
            sources.setdefault(step.name, set()).add(source)
            readers.setdefault(source, set()).add(step.name)
    pairs, layers = {}, {layer.name: layer for layer in model.layers}
    for norm in model.layers:
        if isinstance(norm, keras.layers.BatchNormalization) and len(sources[norm.name]) == 1:
            (source,) = sources[norm.name]
            if readers[source] == {norm.name} and _is_linear(layers.get(source)):
                pairs[norm.name] = source
    return pairs


def _is_linear(layer: Any) -> bool:
    """Whether `layer` is a convolution without activation; None stands for an operation."""
    convolution = isinstance(layer, _CONVOLUTIONS + _SEPARATE + _TRANSPOSED)
    return convolution and layer.activation is keras.activations.linear


def _folded_weights(conv: Any, norm: Any) -> list[np.ndarray]:
    """Kernel and bias, computed in float64 and rounded once."""
    mean, variance = _numbers(norm.moving_mean), _numbers(norm.moving_variance)
    gamma = _numbers(norm.gamma) if norm.scale else 1.0
    beta = _numbers(norm.beta) if norm.center else 0.0
    scale = gamma / np.sqrt(variance + norm.epsilon)
    weights = [np.asarray(weight, np.float64) for weight in conv.get_weights()]
    bias = weights.pop() if conv.use_bias else 0.0
    *before, kernel = weights  # a separable convolution ends with its 1 x 1 kernel
    folded = [*before, kernel * _along_outputs(conv, scale), (bias - mean) * scale + beta]
    return [weight.astype(np.float32) for weight in folded]


def _along_outputs(conv: Any, scale: np.ndarray) -> np.ndarray:
    """`scale`, one per output channel, in a shape that multiplies the last kernel of `conv`.

    Output channels are the last axis, of a transposed kernel the last but one, of a depthwise
    kernel the last two.
    """
    if isinstance(conv, _TRANSPOSED):
        return scale[:, None]
    if isinstance(conv, keras.layers.DepthwiseConv2D):
        return scale.reshape(-1, conv.depth_multiplier)
    return scale


def _numbers(weight: Any) -> np.ndarray:
    """A weight of any backend as float64."""
    return keras.ops.convert_to_numpy(weight).astype(np.float64)
