"""Mixed precision on hardware that does not compute in bfloat16.

Numbers are what ``mixed_bfloat16`` makes of them: weights, and what layers hand on, are rounded to
bfloat16; products and sums are float32, as they are inside of the instructions for bfloat16.
"""

from typing import Any

import numpy as np

from seg_batch.nn.analysis.batchnorm_folding import may_change
from seg_batch.nn.analysis.graph import maker
from seg_batch.nn.backend import keras


def rounded(model: keras.Model) -> keras.Model:
    """A model of the same layers in float32, all of whose layers but the outputs take rounded numbers,
    have rounded weights and give rounded numbers. `model` is untouched."""
    heads = {maker(tensor) for tensor in model.outputs}

    def call(layer: keras.Layer, *inputs: Any, **options: Any) -> Any:
        if not may_change(layer, heads):
            return layer(*inputs, **options)
        inputs = keras.tree.map_structure(_round, inputs)
        return keras.tree.map_structure(_round, layer(*inputs, **options))

    made = keras.models.clone_model(model, call_function=call)
    for source in model.layers:
        if source.weights:
            numbers = source.get_weights()
            layer = made.get_layer(source.name)
            layer.set_weights(
                [_bfloat16(n) for n in numbers] if may_change(source, heads) else numbers
            )
    return made


def _round(tensor: Any) -> Any:
    return keras.ops.cast(keras.ops.cast(tensor, "bfloat16"), "float32")


def _bfloat16(numbers: np.ndarray) -> np.ndarray:
    """Rounded to the nearest, halves to even, as casts do."""
    return keras.ops.convert_to_numpy(_round(keras.ops.convert_to_tensor(numbers)))
