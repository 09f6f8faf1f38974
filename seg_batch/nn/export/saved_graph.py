"""The SavedModel that other formats are converted from: one signature, named input and output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seg_batch.core.errors import InputError
from seg_batch.nn.analysis.batchnorm_folding import fold_batchnorm
from seg_batch.nn.backend import keras, tf
from seg_batch.nn.export.job import INPUT, OUTPUT, SIGNATURE, ExportJob
from seg_batch.nn.loading import load_model


def loaded(order: ExportJob) -> keras.Model:
    """The order's model with folded batch normalisation; raises InputError without TensorFlow."""
    if tf is None:
        raise InputError(
            f"an export to {order.name} is made by TensorFlow, and Keras runs on "
            f"{keras.backend.backend()} here: leave out KERAS_BACKEND"
        )
    return fold_batchnorm(load_model(order.weights, sha256=order.sha256))


def probabilities(model: keras.Model, x: Any) -> Any:
    """``(n, *patch, C)`` to probabilities of at least two classes: a single p becomes (1 - p, p)."""
    y = model(x, training=False)
    y = keras.ops.cast(y[-1] if isinstance(y, (list, tuple)) else y, "float32")
    return keras.ops.concatenate([1.0 - y, y], axis=-1) if y.shape[-1] == 1 else y


def input_spec(model: keras.Model, order: ExportJob, batch: int | None) -> Any:
    shape = (batch, *order.patch, int(model.input_shape[-1]))
    return tf.TensorSpec(shape, tf.float32, name=INPUT)


def open_spec(model: keras.Model) -> Any:
    """For any number of patches, of any sides where the model takes any."""
    return tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name=INPUT)


def write_trunk(
    model: keras.Model, order: ExportJob, folder: Path, batch: int | None = None
) -> None:
    """A SavedModel for patches of the order's shape; ``batch`` None: any number of them."""
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        SIGNATURE,
        lambda image: {OUTPUT: probabilities(model, image)},
        input_signature=[input_spec(model, order, batch)],
    )
    archive.write_out(str(folder), verbose=False)
