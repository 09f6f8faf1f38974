"""A bundle's model file, checked and loaded without running code in it."""

import re
from pathlib import Path

import numpy as np

from seg_batch.core.errors import BundleError
from seg_batch.nn.backend import keras
from seg_batch.nn.weights import stamp, verified

_HALF = ("float16", "bfloat16")
OLDEST_KERAS = (3, 15, 1)  # earlier ones have known holes in load_model


def load_model(path: Path | str, *, sha256: str | None = None) -> keras.Model:
    """The segmentation model in a ``.keras`` file, in float32: one input and one output, channels last.

    No code in the file is run: no Lambda layers, no pickles, no classes but Keras' own. Raises
    BundleError if the file is missing, damaged, unsafe or no segmentation model, or if its hash is
    not `sha256` (hex).
    """
    path = Path(path)
    require_safe_keras()
    stamp(path)
    if sha256 is not None:
        verified(path, sha256)
    try:
        model = keras.models.load_model(path, safe_mode=True, compile=False)
        shapes = (model.input_shape, model.output_shape)
    except Exception as error:  # Keras raises errors of many types
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BundleError(
            f"{path} is no model that can be loaded safely ({reason}); get the bundle again"
        ) from error
    if not all(isinstance(s, tuple) and len(s) in (4, 5) and s[-1] for s in shapes):
        raise BundleError(
            f"{path} has inputs {shapes[0]} and outputs {shapes[1]}; a segmentation model "
            "has one of each, (batch, *spatial, channels); save it with one head"
        )
    return in_float32(model)


def in_float32(model: keras.Model) -> keras.Model:
    """The model, whose layers now compute in float32, whatever they were saved to compute in. The precision
    of a prediction is chosen for a run, and an export is compared in float32."""
    half = [layer for layer in _layers(model) if layer.compute_dtype in _HALF]
    for layer in half:
        layer.dtype_policy = "float32"
    if not any(variable.dtype in _HALF for layer in half for variable in layer.variables):
        return model
    wide = keras.models.clone_model(model)  # built anew from the layers' policies
    wide.set_weights([weight.astype(np.float32) for weight in model.get_weights()])
    return wide


def _layers(model: keras.Model) -> list[keras.Layer]:
    """All layers, also those within others."""
    return [layer for layer in model._flatten_layers(include_self=False) if layer.dtype_policy]


def require_safe_keras() -> None:
    version = tuple(int(n) for n in re.findall(r"\d+", keras.__version__)[:3])
    if version < OLDEST_KERAS:
        raise BundleError(
            f"Keras {keras.__version__} can be made to run code by a model file; "
            "install keras >= 3.15.1"
        )
