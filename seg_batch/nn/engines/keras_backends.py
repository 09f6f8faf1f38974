"""A model file as a predictor on Keras' other backends: JAX or PyTorch. Needs no TensorFlow
(Keras itself imports it where it is installed).

Both use Keras' own calls, compiled by JAX where that is the backend; PyTorch runs without compilation,
since its compiler needs a C++ compiler. The engine is meant for GPU machines that have one of the two
and no TensorFlow, not for speed on CPUs. On a CPU it takes one thread, since both split
sums among threads (JAX in three dimensions), and float32: bfloat16 gains nothing there, and without
AVX-512 JAX gave NaN in it.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.core import hardware
from seg_batch.core.errors import PlanError
from seg_batch.core.registry.engines import EngineInfo
from seg_batch.nn.engines.batched import (
    Forward,
    LoadedNetwork,
    ModelPredictor,
    Shape,
    unfit_shape,
)
from seg_batch.nn.engines.tensorflow import backend_of_keras

DETERMINISTIC = (
    "--xla_gpu_deterministic_ops"  # the same bytes in every process; read when XLA starts
)
INSTALL = {"jax": "pip install jax", "torch": "pip install torch"}


class AnyKerasPredictor(ModelPredictor):
    """The model in a ``.keras`` file as a function of patches; see `ModelPredictor`."""

    def load(self, weights: Path, sha256: str | None) -> LoadedNetwork:
        from seg_batch.nn.analysis.batchnorm_folding import fold_batchnorm
        from seg_batch.nn.backend import keras
        from seg_batch.nn.loading import load_model

        gpu = _started(keras.backend.backend())
        policy = "mixed_bfloat16" if self.precision == "mixed" else None
        if policy and not gpu:
            raise PlanError(
                f"Keras on {keras.backend.backend()} has no GPU here, and on a CPU nothing to gain from "
                "--precision mixed: use --precision float32"
            )
        model = load_model(weights, sha256=sha256)
        folded = fold_batchnorm(model, policy)
        return LoadedNetwork.of_keras(model, partial(compiled, folded), gpu=gpu, keras_model=folded)


def _started(backend: str) -> bool:
    """Start JAX or PyTorch, on a CPU with one thread, on a GPU with one result; whether it uses a GPU.

    A JAX that runs already keeps its threads.
    """
    if backend == "torch":
        import torch

        if not torch.cuda.is_available():
            torch.set_num_threads(1)
        return bool(torch.cuda.is_available())
    import jax

    before = os.environ.get("NPROC")
    if not hardware.gpus():
        os.environ["NPROC"] = "1"  # how many threads XLA takes, read when it starts
    elif DETERMINISTIC not in os.environ.get("XLA_FLAGS", ""):  # as TensorFlow's: nothing autotuned
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DETERMINISTIC}=true"
    try:
        return bool(jax.default_backend() != "cpu")
    finally:
        os.environ.pop("NPROC", None)
        if before is not None:
            os.environ["NPROC"] = before


def compiled(model: Any, shape: Shape) -> Forward:
    """`model` in inference mode as a function of arrays of exactly `shape`.

    Raises InputError if the model can't take that shape.
    """
    from seg_batch.nn.backend import keras

    try:
        model.compute_output_shape(shape)
    except ValueError as error:
        raise unfit_shape(shape, error) from error
    forward = _with_jax(model) if keras.backend.backend() == "jax" else _with_torch(model)

    def run(x: np.ndarray) -> np.ndarray:
        return np.array(keras.ops.convert_to_numpy(forward(x)), np.float32)

    return run


def _with_jax(model: Any) -> Any:
    """Compiled once; the weights are arguments, since as constants they would be compiled in."""
    import jax

    trained = [v.value for v in model.trainable_variables]
    others = [v.value for v in model.non_trainable_variables]

    @jax.jit
    def forward(trained: Any, others: Any, x: Any) -> Any:
        return model.stateless_call(trained, others, x, training=False)[0]

    return lambda x: forward(trained, others, x)


def _with_torch(model: Any) -> Any:
    import torch

    def forward(x: np.ndarray) -> Any:
        with torch.inference_mode():
            return model(x, training=False)

    return forward


class _AnyKeras(EngineInfo):
    def needs(self) -> tuple[str, ...]:
        return (*self.libraries, backend_of_keras())

    def unfit(self) -> str | None:
        if (backend := backend_of_keras()) in INSTALL:
            return None
        return (
            f"--engine keras runs on {' or '.join(INSTALL)} and KERAS_BACKEND is {backend}: set it "
            "to one of them, or use --engine tensorflow"
        )

    def claim(self, gpus: int, is_installed: Callable[[str], bool]) -> tuple[int, str] | None:
        backend = backend_of_keras()
        return (3, f"KERAS_BACKEND is {backend}") if backend in INSTALL else None

    def precision(self, gpus: int) -> str:
        return hardware.default_precision() if gpus else "float32"  # see above

    def takes_one_thread(self, avx512: bool) -> bool:
        return True


INFO = _AnyKeras(
    name="keras",
    predictor=AnyKerasPredictor,
    formats={"keras": "a Keras model"},
    install=INSTALL,
    libraries=("keras",),
    memory_bytes=900 << 20,
    start_s=5.0,
)
