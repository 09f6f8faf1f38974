"""A model file as a predictor on TensorFlow.

What was measured (Keras 3.15.1, TensorFlow 2.21, Zen 4 and 5) and what it means here:

- With oneDNN on AVX-512 a patch has one result to the last bit for any number of threads, if no layer
  sums over the whole patch. Else there is one thread (`steady`). TensorFlow itself turns to oneDNN only
  where the CPU has instructions for neural networks (Zen 3 has none); `backend` asks for it always.
- One patch at a time is as fast per patch as eight, on CPUs. On GPUs the result can depend on the
  *size* of the batch, in the last bits, where layers get small; so a run keeps one size, and short
  batches are padded.
- Folding batch normalisation saves a fifth of the time; freezing the variables as well saves less
  than a twentieth more, by private functions, and is not done.
- ``precision="mixed"`` (bfloat16) takes 0.6 of the time on CPUs that have it. Elsewhere TensorFlow's
  kernels for it are slow and split sums among threads: numbers are rounded to bfloat16 between layers
  that compute in float32 (`rounding`).
"""

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.core import hardware
from seg_batch.core.errors import PlanError
from seg_batch.nn.analysis.batchnorm_folding import fold_batchnorm
from seg_batch.nn.backend import ONEDNN, keras, tf
from seg_batch.nn.engines.batched import Forward, ModelPredictor, known_precision, unfit_shape
from seg_batch.nn.engines.steady import tensorflow_may_thread, warn_of_one_thread
from seg_batch.nn.loading import load_model
from seg_batch.nn.rounding import rounded

if tf is None:
    raise PlanError(
        f"the TensorFlow engine can't run while Keras computes with {keras.backend.backend()}: "
        "unset KERAS_BACKEND, or use --engine keras"
    )

_log = logging.getLogger(__name__)
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
        gpu = bool(tf.config.list_physical_devices("GPU"))
        if not gpu and not tensorflow_may_thread(Path(weights), onednn=ONEDNN):
            _take_one_thread()
        model = load_model(weights, sha256=sha256)
        if gpu:
            _steady_gpu(precision)
        folded = _computing(model, precision, gpu)
        super().__init__(
            lambda shape: compiled(folded, shape),
            batch,
            EXHAUSTED,
            channels=int(model.input_shape[-1]),
            rank=len(model.input_shape) - 2,
            outputs=int(model.output_shape[-1]),
            precision=precision,
            gpu=gpu,
        )


def _take_one_thread() -> None:
    """Has to happen before TensorFlow starts; afterwards all there is to do is to log it."""
    if os.environ.get("TF_NUM_INTRAOP_THREADS") == "1":
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        warn_of_one_thread("TensorFlow")
    except RuntimeError:
        _log.info(  # a check of a model or the end of a training, nearly always
            "TensorFlow had started before this model was loaded, with more threads than one: another "
            "number of them may give other last bits; TF_NUM_INTRAOP_THREADS=1 makes them exact"
        )


def _computing(model: keras.Model, precision: str, gpu: bool) -> keras.Model:
    """The model in the form that computes: float16 has the finer mantissa and GPUs are fast at it;
    CPUs compute in bfloat16, or as if they did."""
    if precision == "float32":
        return fold_batchnorm(model)
    if gpu:
        return fold_batchnorm(model, "mixed_float16")
    if hardware.has_bfloat16():
        return fold_batchnorm(model, "mixed_bfloat16")
    return rounded(fold_batchnorm(model))


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


def _steady_gpu(precision: str) -> None:
    """The same bytes every time: no autotuned algorithms; and float32 means float32, not TF32."""
    tf.config.experimental.enable_op_determinism()
    tf.config.experimental.enable_tensor_float_32_execution(precision != "float32")
