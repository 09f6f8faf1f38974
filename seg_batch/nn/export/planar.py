"""3-D max pooling as two 2-D poolings, for runtimes without 3-D pooling; with identical results.

The maximum of a box is the maximum over z of the maxima over y and x. So slices are pooled in the
plane, as a batch, and then the columns along z, with all other axes flattened.
"""

from __future__ import annotations

from typing import Any

from seg_batch.nn.backend import keras


class PlanarMaxPooling3D(keras.layers.Layer):
    """``(B, z, y, x, C)`` to ``(B, z / 2, y / 2, x / 2, C)`` for a ``size`` of (2, 2, 2). Sides have
    to be known multiples of it."""

    def __init__(self, size: tuple[int, int, int], **options: Any) -> None:
        super().__init__(**options)
        self.size = size

    def call(self, image: Any) -> Any:
        (z, y, x, channels), (c, b, a) = image.shape[1:], self.size
        planes = keras.ops.reshape(image, (-1, y, x, channels))
        planes = keras.ops.max_pool(planes, (b, a), data_format="channels_last")
        columns = keras.ops.reshape(planes, (-1, z, y * x // (a * b), channels))
        columns = keras.ops.max_pool(columns, (c, 1), data_format="channels_last")
        return keras.ops.reshape(columns, (-1, z // c, y // b, x // a, channels))


def with_planar_pools(model: keras.Model, patch: tuple[int, ...]) -> keras.Model:
    """A 3-D model with its poolings replaced, for patches of one shape; other models unchanged."""
    if not any(isinstance(layer, keras.layers.MaxPooling3D) for layer in model.layers):
        return model

    def copy(layer: keras.Layer) -> keras.Layer:
        pool = isinstance(layer, keras.layers.MaxPooling3D)
        if pool and tuple(layer.strides) == tuple(layer.pool_size):
            return PlanarMaxPooling3D(tuple(layer.pool_size), name=layer.name)
        return layer.__class__.from_config(layer.get_config())

    image = keras.Input((*patch, model.input_shape[-1]), name=model.inputs[0].name)
    planar = keras.models.clone_model(model, input_tensors=image, clone_function=copy)
    planar.set_weights(model.get_weights())
    return planar
