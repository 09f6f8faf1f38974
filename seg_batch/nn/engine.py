"""A model file as a predictor: arrays in, class probabilities out, in batches of one fixed shape.

What was measured (Keras 3.15.1, TensorFlow 2.21 with oneDNN, Zen 5) and what it means here:

- The result of a patch does not depend on its place in the batch, on its neighbours, nor on the
  number of threads. It can depend on the *size* of the batch, in the last bits, where layers get
  small; so a run keeps one size, and short batches are padded.
- One patch at a time is as fast per patch as eight, on CPUs.
- Folding batch normalisation saves a fifth of the time; freezing the variables as well saves less
  than a twentieth more, by private functions, and is not done.
- ``precision="mixed"`` (bfloat16) takes 0.6 of the time on CPUs that have it.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.errors import InputError, PlanError
from seg_batch.nn.backend import keras, tf
from seg_batch.nn.fold import fold_batchnorm
from seg_batch.nn.loading import load_model, stamp

type Forward = Callable[[np.ndarray], np.ndarray]

OUT_OF_MEMORY = (tf.errors.ResourceExhaustedError, MemoryError)
PRECISIONS = ("float32", "mixed")


class Batched:
    """Runs any number of patches through a function that takes exactly `batch` at a time.

    `compiler` makes that function from a full input shape ``(batch, *patch, C)``. When it fails for
    want of memory the batch is halved, for good, and the same patches are tried again; at 1 a
    PlanError says so. Calls from several threads wait for one another: memory is promised for one.
    """

    def __init__(self, compiler: Callable[[tuple[int, ...]], Forward], batch: int) -> None:
        if batch < 1:
            raise InputError(f"the batch is {batch}, there is nothing to run; use 1 or more")
        self._compiler, self._batch = compiler, batch
        self._forwards: dict[tuple[int, ...], Forward] = {}
        self._lock = threading.Lock()

    @property
    def batch(self) -> int:
        """The current batch size; lower than asked for if memory ran out."""
        return self._batch

    def __call__(self, patches: np.ndarray) -> np.ndarray:
        """``(n, *patch, C)`` to ``(n, *patch, K)``, float32, for any n >= 1."""
        with self._lock:
            parts: list[np.ndarray] = []
            start = 0
            while start < len(patches):
                part = self._run(patches[start : start + self._batch])
                if part is not None:
                    parts.append(part)
                    start += len(part)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _run(self, part: np.ndarray) -> np.ndarray | None:
        """The result of `part`; None if it was too much and has to be cut anew."""
        shape = (self._batch, *part.shape[1:])
        try:
            if shape not in self._forwards:
                self._forwards[shape] = self._compiler(shape)
            return self._forwards[shape](_padded(part, self._batch))[: len(part)]
        except OUT_OF_MEMORY as error:
            self._halve(shape, error)
            return None

    def _halve(self, shape: tuple[int, ...], error: BaseException) -> None:
        if self._batch == 1:
            raise PlanError(
                f"not enough memory for a single patch of shape {shape[1:]}; "
                "use smaller patches, fewer workers or more memory"
            ) from error
        self._forwards.clear()
        self._batch //= 2


class KerasPredictor(Batched):
    """The model in a ``.keras`` file as a function of patches.

    `patches` is float32 ``(n, *patch, channels)``, normalised as the model's card says; the result is
    float32 ``(n, *patch, classes)``, probabilities. A model with one sigmoid output gets two
    classes, (1 - p, p). `precision` is "float32" or "mixed" (see `machine.default_precision`).
    Raises BundleError if the file is no model of this kind.
    """

    def __init__(
        self,
        model_path: Path | str,
        *,
        batch: int = 1,
        precision: str = "float32",
        sha256: str | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise InputError(f"unknown precision {precision!r}; use one of {', '.join(PRECISIONS)}")
        model = load_model(model_path, sha256=sha256)
        self.channels = int(model.input_shape[-1])
        self.rank = len(model.input_shape) - 2
        self.classes = max(int(model.output_shape[-1]), 2)
        self.precision = precision
        if tf.config.list_physical_devices("GPU"):
            _steady_gpu(precision)
        model = fold_batchnorm(model, _policy() if precision == "mixed" else None)
        super().__init__(lambda shape: compiled(model, shape), batch)

    def __call__(self, patches: np.ndarray) -> np.ndarray:
        if patches.ndim != self.rank + 2 or patches.shape[-1] != self.channels:
            raise InputError(
                f"patches of shape {patches.shape}, but the model takes (n, *{self.rank} sides, "
                f"{self.channels} channels); check the channels and the patch of the card"
            )
        if len(patches) == 0:
            return np.zeros((*patches.shape[:-1], self.classes), np.float32)
        return super().__call__(patches)


_lock = threading.Lock()
_loaded_already: dict[tuple[Any, ...], KerasPredictor] = {}


def load_predictor(
    model_path: Path | str, *, batch: int = 1, precision: str = "float32", sha256: str | None = None
) -> KerasPredictor:
    """The predictor of `model_path`, loaded once per process however often and wherever asked.

    `sha256` (hex) is compared with the file's first; BundleError if it differs. The number of
    threads comes from TF_NUM_INTRAOP_THREADS, read when TensorFlow starts.
    """
    path = Path(model_path).resolve()
    key = (path, stamp(path), batch, precision, sha256)
    with _lock:
        if key not in _loaded_already:
            predictor = KerasPredictor(path, batch=batch, precision=precision, sha256=sha256)
            _loaded_already[key] = predictor
        return _loaded_already[key]


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
        raise InputError(
            f"the model can't take patches of shape {shape[1:]}; every side has to be a "
            "multiple of 2 to the power of the model's depth"
        ) from error

    def run(x: np.ndarray) -> np.ndarray:
        y: np.ndarray = graph(tf.constant(x, tf.float32)).numpy()
        return y

    return run


def _padded(part: np.ndarray, batch: int) -> np.ndarray:
    """`part` filled up to `batch` patches by repeating its first, which is surely a harmless one."""
    missing = batch - len(part)
    return part if missing == 0 else np.concatenate([part, np.repeat(part[:1], missing, axis=0)])


def _policy() -> str:
    """float16 has the finer mantissa and GPUs are fast at it; CPUs compute in bfloat16 only."""
    return "mixed_float16" if tf.config.list_physical_devices("GPU") else "mixed_bfloat16"


def _steady_gpu(precision: str) -> None:
    """The same bytes every time: no autotuned algorithms; and float32 means float32, not TF32."""
    tf.config.experimental.enable_op_determinism()
    tf.config.experimental.enable_tensor_float_32_execution(precision != "float32")
