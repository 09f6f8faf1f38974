"""A model file as a predictor on TensorFlow.

Measurements (Keras 3.15.1, TensorFlow 2.21, Zen 4 and 5) and their consequences:

- With oneDNN on AVX-512 a patch has one result to the last bit for any number of threads, if no layer
  sums over the whole patch. Else there is one thread (`steady`). By default TensorFlow uses oneDNN only
  where the CPU has instructions for neural networks (Zen 3 has none); `backend` always enables it.
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
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.core import hardware
from seg_batch.core.errors import PlanError
from seg_batch.core.registry.engines import EngineInfo
from seg_batch.nn.engines.batched import Forward, LoadedNetwork, ModelPredictor, unfit_shape
from seg_batch.nn.engines.openvino.engine import INSTALL as INSTALL_OPENVINO
from seg_batch.nn.engines.steady import tensorflow_may_thread, warn_of_one_thread

_log = logging.getLogger(__name__)


class KerasPredictor(ModelPredictor):
    """The model in a ``.keras`` file as a function of patches; see `ModelPredictor`."""

    def load(self, weights: Path, sha256: str | None) -> LoadedNetwork:
        from seg_batch.nn.backend import ONEDNN
        from seg_batch.nn.loading import load_model

        tf = library()
        gpu = bool(tf.config.list_physical_devices("GPU"))
        if not gpu and not tensorflow_may_thread(weights, onednn=ONEDNN):
            _take_one_thread(tf)
        model = load_model(weights, sha256=sha256)
        if gpu:  # the same bytes every time: no autotuned algorithms; float32 is float32, not TF32
            tf.config.experimental.enable_op_determinism()
            tf32 = self.precision != "float32"
            tf.config.experimental.enable_tensor_float_32_execution(tf32)
        folded = _computing(model, self.precision, gpu)
        return LoadedNetwork.of_keras(
            model, partial(compiled, folded), gpu=gpu, exhausted=exhausted(), keras_model=folded
        )


def library() -> Any:
    """TensorFlow; PlanError where Keras computes with something else."""
    from seg_batch.nn.backend import keras, tf

    if tf is None:
        raise PlanError(
            f"the TensorFlow engine can't run while Keras computes with {keras.backend.backend()}: "
            "unset KERAS_BACKEND, or use --engine keras"
        )
    return tf


def exhausted() -> tuple[type[BaseException], ...]:
    """The errors that TensorFlow raises where there is too little memory."""
    return (library().errors.ResourceExhaustedError, MemoryError)


def _take_one_thread(tf: Any) -> None:
    """It has an effect only before TensorFlow starts; afterwards a log entry says so."""
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


def _computing(model: Any, precision: str, gpu: bool) -> Any:
    """The model in the types that it computes in. On GPUs float16, which is fast there and has the finer
    mantissa; on CPUs bfloat16, or float32 rounded to it."""
    from seg_batch.nn.analysis.batchnorm_folding import fold_batchnorm
    from seg_batch.nn.rounding import rounded

    if precision == "float32":
        return fold_batchnorm(model)
    if gpu:
        return fold_batchnorm(model, "mixed_float16")
    if hardware.has_bfloat16():
        return fold_batchnorm(model, "mixed_bfloat16")
    return rounded(fold_batchnorm(model))


def compiled(model: Any, shape: tuple[int, ...]) -> Forward:
    """`model` in inference mode as a function of arrays of exactly `shape`.

    Raises InputError if the model can't take that shape.
    """
    tf = library()

    def forward(x: Any) -> Any:
        y = model(x, training=False)
        return tf.cast(y[-1] if isinstance(y, (list, tuple)) else y, tf.float32)

    signature = [tf.TensorSpec(shape, tf.float32)]
    try:
        traced = tf.function(forward, input_signature=signature, autograph=False)
        graph = traced.get_concrete_function()
    except ValueError as error:
        raise unfit_shape(shape, error) from error

    def run(x: np.ndarray) -> np.ndarray:
        y: np.ndarray = graph(tf.constant(x, tf.float32)).numpy()
        return y

    return run


class _TensorFlow(EngineInfo):
    def unfit(self) -> str | None:
        if (backend := backend_of_keras()) == "tensorflow":
            return None
        return (
            f"--engine tensorflow can't run while KERAS_BACKEND is {backend}: unset it, or use "
            "--engine keras"
        )

    def claim(self, gpus: int, is_installed: Callable[[str], bool]) -> tuple[int, str] | None:
        if gpus and is_installed("tensorflow"):
            return 2, f"there {'is a GPU' if gpus == 1 else f'are {gpus} GPUs'}"
        return 0, f"OpenVINO, faster on a CPU, is not installed: {INSTALL_OPENVINO}"

    def takes_one_thread(self, avx512: bool) -> bool:
        return not avx512  # see `steady`


def backend_of_keras() -> str:
    """The backend that Keras takes when it is loaded."""
    return os.environ.get("KERAS_BACKEND", "tensorflow")


# Measured as for OpenVINO: 735 MiB and 0.91. Speed: 150e9 and 130e9 in bfloat16, 95e9 and 76e9 in
# float32; with AVX2 39e9 to 66e9, mixed or not.
INFO = _TensorFlow(
    name="tensorflow",
    predictor=KerasPredictor,
    formats={"keras": "a Keras model"},
    install={"tensorflow": "pip install tensorflow"},
    libraries=("tensorflow", "keras"),
    reported=("tensorflow", "keras"),
    memory_bytes=900 << 20,
    flops_per_core={"mixed": 140e9, "float32": 85e9},
    flops_below_avx512=45e9,
    start_s=5.0,
)
