"""What computes a model: arrays in, class probabilities out, in batches of one fixed shape.

==============  =============================================================
``choice``      which engine a run takes, and why; imports none of them
``batched``     batches of one size; what every engine's predictor shares
``tensorflow``  Keras on TensorFlow: GPUs, and wherever nothing else is
``openvino``    OpenVINO on CPUs; ``convert`` makes its files from Keras models,
                ``cache`` keeps them, ``split`` says what stays float32
``keras_any``   Keras on JAX or PyTorch, as KERAS_BACKEND says
==============  =============================================================

Importing this package imports no engine; `load_predictor` imports the one it is asked for.
"""

import importlib
import socket
import threading
from pathlib import Path
from typing import Any

from seg_batch.errors import PlanError
from seg_batch.nn.engines.batched import ModelPredictor
from seg_batch.nn.engines.choice import ENGINES, INSTALL, choose
from seg_batch.nn.weights import stamp

CLASSES = {
    "openvino": ("seg_batch.nn.engines.openvino", "OpenVINOPredictor"),
    "tensorflow": ("seg_batch.nn.engines.tensorflow", "KerasPredictor"),
    "keras": ("seg_batch.nn.engines.keras_any", "AnyKerasPredictor"),
}

__all__ = ["ENGINES", "choose", "load_predictor"]

_lock = threading.Lock()
_loaded_already: dict[tuple[Any, ...], ModelPredictor] = {}


def load_predictor(
    weights: Path | str,
    *,
    engine: str,
    batch: int = 1,
    precision: str = "float32",
    sha256: str | None = None,
) -> ModelPredictor:
    """The predictor of a bundle's weights, loaded once per process however often and wherever asked.

    `engine` is one of `CLASSES` (see `choose`). `sha256` (hex) is compared with the file's first;
    BundleError if it differs. The number of threads comes from TF_NUM_INTRAOP_THREADS, read when
    the engine starts.
    """
    path = Path(weights).resolve()
    key = (path, stamp(path), engine, batch, precision, sha256)
    with _lock:
        if key not in _loaded_already:
            made = _class_of(engine)(path, batch=batch, precision=precision, sha256=sha256)
            _loaded_already[key] = made
        return _loaded_already[key]


def _class_of(engine: str) -> type[Any]:
    """PlanError where the engine is not installed: a worker need not have what the planner has."""
    module, name = CLASSES[engine]
    try:
        found: type[Any] = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise PlanError(
            f"{error.name} is not installed on {socket.gethostname()}: "
            f"{INSTALL.get(error.name or '', 'install it')}, or use another --engine"
        ) from error
    return found
