"""Batch normalisation folded into the convolution before it, for inference.

With frozen statistics ``BN(conv(x)) = (conv(x) - mean) * scale + beta``, where
``scale = gamma / sqrt(variance + epsilon)``; that is a convolution again, with kernel
``kernel * scale`` and bias ``(bias - mean) * scale + beta``. Half of the layers of an ANU-Net
disappear, and TensorFlow joins what remains (convolution, bias, ReLU) into single operations.

Works on any functional model, not only on ours: a batch normalisation that does not directly
follow a linear convolution, or whose convolution feeds something else too, is left as it is.
"""

from typing import Any

import numpy as np

from seg_batch.nn.backend import keras

_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.Conv3D)
_TRANSPOSED = (keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)


def fold_batchnorm(model: keras.Model, dtype: str | None = None) -> keras.Model:
    """A new model with the same outputs (within rounding) and fewer layers; `model` is untouched.

    `dtype` is the Keras dtype policy of all layers but the outputs, which stay as they are;
    None keeps every layer's own. ``"mixed_bfloat16"`` gives a model that computes in bfloat16.
    """
    pairs = _foldable(model)
    heads = {tensor._keras_history.operation.name for tensor in model.outputs}

    def copy(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        if dtype is not None and layer.name not in heads:
            config["dtype"] = dtype
        if layer.name in pairs.values():
            config["use_bias"] = True
        return layer.__class__.from_config(config)

    def call(layer: keras.Layer, *inputs: Any, **options: Any) -> Any:
        return inputs[0] if layer.name in pairs else layer(*inputs, **options)

    folded = keras.models.clone_model(model, clone_function=copy, call_function=call)
    before = {conv: norm for norm, conv in pairs.items()}
    for layer in folded.layers:
        source = model.get_layer(layer.name)
        if layer.name in before:
            layer.set_weights(_folded_weights(source, model.get_layer(before[layer.name])))
        else:
            layer.set_weights(source.get_weights())
    return folded


def _foldable(model: keras.Model) -> dict[str, str]:
    """Names of batch normalisations that can go, each with the convolution it goes into."""
    producers: dict[str, set[str]] = {}
    consumers: dict[str, set[str]] = {}
    for operation in model.operations:
        for node in operation._inbound_nodes:
            for tensor in node.input_tensors:
                producer = tensor._keras_history.operation.name
                producers.setdefault(operation.name, set()).add(producer)
                consumers.setdefault(producer, set()).add(operation.name)
    outputs = {tensor._keras_history.operation.name for tensor in model.outputs}
    pairs = {}
    for layer in model.layers:
        sources = producers.get(layer.name, set())
        if not isinstance(layer, keras.layers.BatchNormalization) or len(sources) != 1:
            continue
        (source,) = sources
        if (
            consumers[source] == {layer.name}
            and source not in outputs
            and _is_linear(model, source)
        ):
            pairs[layer.name] = source
    return pairs


def _is_linear(model: keras.Model, name: str) -> bool:
    layer = model.get_layer(name)
    linear: bool = isinstance(layer, _CONVOLUTIONS + _TRANSPOSED)
    return linear and layer.activation is keras.activations.linear


def _folded_weights(conv: Any, norm: Any) -> list[np.ndarray]:
    """Kernel and bias, computed in float64 so that the only rounding is the last one."""
    mean, variance = (np.asarray(w, np.float64) for w in (norm.moving_mean, norm.moving_variance))
    gamma = np.asarray(norm.gamma, np.float64) if norm.scale else 1.0
    beta = np.asarray(norm.beta, np.float64) if norm.center else 0.0
    scale = gamma / np.sqrt(variance + norm.epsilon)
    kernel = np.asarray(conv.kernel, np.float64)
    bias = np.asarray(conv.bias, np.float64) if conv.use_bias else 0.0
    # The output channels are the last axis of a kernel, of a transposed one the last but one.
    factor = scale[:, None] if isinstance(conv, _TRANSPOSED) else scale
    return [(kernel * factor).astype(np.float32), ((bias - mean) * scale + beta).astype(np.float32)]
