"""What computes a model: arrays in, class probabilities out, in batches of one fixed shape.

==================  =================================================================
``choice``          which engine a run takes, and why; imports none of them
``batched``         batches of one size; what every engine's predictor shares
``tensorflow``      Keras on TensorFlow: GPUs, and wherever nothing else is
``openvino``        OpenVINO on CPUs; ``openvino_convert`` makes its files from Keras
                    models, ``openvino_cache`` keeps them, ``openvino_precision`` says what
                    stays float32
``keras_backends``  Keras on JAX or PyTorch, as KERAS_BACKEND says
``steady``          how many threads an engine may have here without changing a bit
==================  =================================================================

Importing this package imports no engine; `load_predictor` imports the one it is asked for.
"""

import threading
from pathlib import Path
from typing import Any

from seg_batch.config.predict_options import ENGINES
from seg_batch.nn.engines.batched import ModelPredictor
from seg_batch.nn.engines.choice import CLASSES, choose, class_of
from seg_batch.nn.weights import stamp

__all__ = ["CLASSES", "ENGINES", "choose", "load_predictor"]

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
    the engine starts; an engine takes one where their number could change a bit (see `steady`).
    """
    path = Path(weights).resolve()
    key = (path, stamp(path), engine, batch, precision, sha256)
    with _lock:
        if key not in _loaded_already:
            made = class_of(engine)(path, batch=batch, precision=precision, sha256=sha256)
            _loaded_already[key] = made
        return _loaded_already[key]
