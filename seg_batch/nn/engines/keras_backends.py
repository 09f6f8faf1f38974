"""A model file as a predictor on whatever Keras computes with: JAX or PyTorch. Needs no TensorFlow
(Keras itself imports it where it is installed).

One code path for both: Keras' own calls, compiled by JAX where that is the backend; PyTorch runs
as it is, since its compiler needs a C++ compiler at hand. Not built for speed on CPUs: for GPU
machines that have one of the two and no TensorFlow. On a CPU it takes one thread, since both split
sums among threads (JAX in three dimensions), and float32: bfloat16 gains nothing there, and without
AVX-512 JAX made NaN of it.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.core import hardware
from seg_batch.core.errors import PlanError
from seg_batch.nn.analysis.batchnorm_folding import fold_batchnorm
from seg_batch.nn.backend import keras
from seg_batch.nn.engines.batched import (
    Forward,
    ModelPredictor,
    Shape,
    known_precision,
    two_classes,
    unfit_shape,
)
from seg_batch.nn.loading import load_model


class AnyKerasPredictor(ModelPredictor):
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
        gpu = _started()
        policy = "mixed_bfloat16" if known_precision(precision) == "mixed" else None
        if policy and not gpu:
            raise PlanError(
                f"Keras on {keras.backend.backend()} has no GPU here, and on a CPU nothing to gain from "
                "--precision mixed: use --precision float32"
            )
        model = load_model(weights, sha256=sha256)
        folded = fold_batchnorm(model, policy)
        super().__init__(
            lambda shape: compiled(folded, shape),
            batch,
            channels=int(model.input_shape[-1]),
            rank=len(model.input_shape) - 2,
            outputs=int(model.output_shape[-1]),
            precision=precision,
            gpu=gpu,
        )


def _started() -> bool:
    """Start JAX or PyTorch, on a CPU with one thread; whether there is a GPU that it uses.

    JAX that runs already keeps its threads.
    """
    if keras.backend.backend() == "torch":
        import torch

        if not torch.cuda.is_available():
            torch.set_num_threads(1)
        return bool(torch.cuda.is_available())
    import jax

    before = os.environ.get("NPROC")
    if not hardware.gpus():
        os.environ["NPROC"] = "1"  # how many threads XLA takes, read when it starts
    try:
        return bool(jax.default_backend() != "cpu")
    finally:
        os.environ.pop("NPROC", None)
        if before is not None:
            os.environ["NPROC"] = before


def compiled(model: keras.Model, shape: Shape) -> Forward:
    """`model` in inference mode as a function of arrays of exactly `shape`.

    Raises InputError if the model can't take that shape.
    """
    try:
        model.compute_output_shape(shape)
    except ValueError as error:
        raise unfit_shape(shape) from error
    forward = _with_jax(model) if keras.backend.backend() == "jax" else _with_torch(model)

    def run(x: np.ndarray) -> np.ndarray:
        return two_classes(np.array(keras.ops.convert_to_numpy(forward(x)), np.float32))

    return run


def _with_jax(model: keras.Model) -> Any:
    """Compiled once; the weights are arguments, since as constants they would be compiled in."""
    import jax

    trained = [v.value for v in model.trainable_variables]
    others = [v.value for v in model.non_trainable_variables]

    @jax.jit
    def forward(trained: Any, others: Any, x: Any) -> Any:
        return model.stateless_call(trained, others, x, training=False)[0]

    return lambda x: forward(trained, others, x)


def _with_torch(model: keras.Model) -> Any:
    import torch

    def forward(x: np.ndarray) -> Any:
        with torch.inference_mode():
            return model(x, training=False)

    return forward
