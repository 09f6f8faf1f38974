"""Emulation of mixed precision on hardware that does not compute in bfloat16.

Results are those of ``mixed_bfloat16``: weights and the outputs of layers are rounded to bfloat16;
products and sums are float32, as inside of the instructions for bfloat16.
"""

from typing import Any

from seg_batch.nn.analysis.batchnorm_folding import may_change
from seg_batch.nn.analysis.graph import maker
from seg_batch.nn.backend import keras


def rounded(model: keras.Model) -> keras.Model:
    """A float32 copy of `model` in which inputs, weights and outputs of all layers but the heads are
    rounded to bfloat16."""
    heads = {maker(tensor) for tensor in model.outputs}

    def call(layer: keras.Layer, *inputs: Any, **options: Any) -> Any:
        if not may_change(layer, heads):
            return layer(*inputs, **options)
        inputs = keras.tree.map_structure(_round, inputs)
        return keras.tree.map_structure(_round, layer(*inputs, **options))

    clone = keras.models.clone_model(model, call_function=call)
    for source in (layer for layer in model.layers if layer.weights):
        values = source.get_weights()
        if may_change(source, heads):
            rounded_values = (_round(keras.ops.convert_to_tensor(v)) for v in values)
            values = [keras.ops.convert_to_numpy(v) for v in rounded_values]
        clone.get_layer(source.name).set_weights(values)
    return clone


def _round(tensor: Any) -> Any:
    """Rounded to the nearest, halves to even, like a cast."""
    return keras.ops.cast(keras.ops.cast(tensor, "bfloat16"), "float32")
