"""A model file as a predictor on TensorFlow.

What was measured (Keras 3.15.1, TensorFlow 2.21 with oneDNN, Zen 5) and what it means here:

- The result of a patch does not depend on its place in the batch, on its neighbours, nor on the
  number of threads. It can depend on the *size* of the batch, in the last bits, where layers get
  small; so a run keeps one size, and short batches are padded.
- One patch at a time is as fast per patch as eight, on CPUs.
- Folding batch normalisation saves a fifth of the time; freezing the variables as well saves less
  than a twentieth more, by private functions, and is not done.
- ``precision="mixed"`` (bfloat16) takes 0.6 of the time on CPUs that have it.
"""

from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.errors import PlanError
from seg_batch.nn.backend import keras, tf
from seg_batch.nn.engines.batched import Forward, ModelPredictor, known_precision, unfit_shape
from seg_batch.nn.fold import fold_batchnorm
from seg_batch.nn.loading import load_model

if tf is None:
    raise PlanError(
        f"the TensorFlow engine can't run while Keras computes with {keras.backend.backend()}: "
        "unset KERAS_BACKEND, or use --engine keras"
    )

EXHAUSTED = (tf.errors.ResourceExhaustedError, MemoryError)


class KerasPredictor(ModelPredictor):
    """The model in a ``.keras`` file as a function of patches; see `ModelPredictor`.

    Raises BundleError if the file is no model of this kind.
    """

    def __init__(
        self,
        weights: Path | str,
        *,
        batch: int = 1,
        precision: str = "float32",
        sha256: str | None = None,
    ) -> None:
        known_precision(precision)
        model = load_model(weights, sha256=sha256)
        if tf.config.list_physical_devices("GPU"):
            _steady_gpu(precision)
        folded = fold_batchnorm(model, _policy() if precision == "mixed" else None)
        super().__init__(
            lambda shape: compiled(folded, shape),
            batch,
            EXHAUSTED,
            channels=int(model.input_shape[-1]),
            rank=len(model.input_shape) - 2,
            outputs=int(model.output_shape[-1]),
            precision=precision,
        )


def compiled(model: keras.Model, shape: tuple[int, ...]) -> Forward:
    """`model` in inference mode as a function of arrays of exactly `shape`.

    Raises InputError if the model can't take that shape.
    """

    def forward(x: Any) -> Any:
        y = model(x, training=False)
        y = tf.cast(y[-1] if isinstance(y, (list, tuple)) else y, tf.float32)
        return tf.concat([1.0 - y, y], axis=-1) if y.shape[-1] == 1 else y

    signature = [tf.TensorSpec(shape, tf.float32)]
    try:
        graph = tf.function(
            forward, input_signature=signature, autograph=False
        ).get_concrete_function()
    except ValueError as error:
        raise unfit_shape(shape) from error

    def run(x: np.ndarray) -> np.ndarray:
        y: np.ndarray = graph(tf.constant(x, tf.float32)).numpy()
        return y

    return run


def _policy() -> str:
    """float16 has the finer mantissa and GPUs are fast at it; CPUs compute in bfloat16 only."""
    return "mixed_float16" if tf.config.list_physical_devices("GPU") else "mixed_bfloat16"


def _steady_gpu(precision: str) -> None:
    """The same bytes every time: no autotuned algorithms; and float32 means float32, not TF32."""
    tf.config.experimental.enable_op_determinism()
    tf.config.experimental.enable_tensor_float_32_execution(precision != "float32")
