"""Engines, which compute a model: arrays in, class probabilities out, in batches of one fixed shape.

==================  =================================================================
``choice``          the engine of a run, and the reason; loads none of them
``batched``         batches of one size; `ModelPredictor`, the base of every engine
``tensorflow``      Keras on TensorFlow: GPUs, and where no other engine is installed
``openvino``        OpenVINO on CPUs; ``openvino.convert`` makes its files from Keras
                    models, ``openvino.cache`` keeps them, ``openvino.precision`` chooses
                    the layers that stay float32, ``openvino.onnx_model`` takes ONNX files
``onnxruntime``     ONNX Runtime, on GPUs and CPUs; ``onnx_file`` checks the bytes that
                    both engines get, ``fixed_shapes`` what a file fixes
``keras_backends``  Keras on JAX or PyTorch, as KERAS_BACKEND says
``steady``          how many threads an engine may have here without changing a bit
==================  =================================================================

An engine is one file: a `ModelPredictor`, and an `EngineInfo` with all facts that others read, which
can be read without the engine's library. `core.registry.engines` lists them.
"""

import socket
import threading
from pathlib import Path
from typing import Any

from seg_batch.config.card_parts.network import OURS, Network
from seg_batch.core.errors import PlanError
from seg_batch.core.registry.engines import ENGINES
from seg_batch.nn.engines.batched import ModelPredictor
from seg_batch.nn.engines.choice import choose
from seg_batch.nn.weights import stamp

__all__ = ["choose", "load_predictor"]

_lock = threading.Lock()
_loaded_already: dict[tuple[Any, ...], ModelPredictor] = {}


def load_predictor(
    weights: Path | str,
    *,
    engine: str,
    batch: int = 1,
    precision: str = "float32",
    sha256: str | None = None,
    network: Network = OURS,
) -> ModelPredictor:
    """The predictor of a bundle's weights, loaded once per process.

    `engine` is one of `ENGINES` (see `choose`). `sha256` (hex) is compared with the file's first;
    BundleError if it differs. `network`: see `ModelCard.network`. PlanError where the engine is not installed: a worker need not have what
    the planner has. The number of threads comes from TF_NUM_INTRAOP_THREADS, read when
    the engine starts; an engine takes one where their number could change a bit (see `steady`).
    """
    path, info = Path(weights).resolve(), ENGINES[engine]
    how = {"batch": batch, "precision": precision, "sha256": sha256, "network": network}
    key = (path, stamp(path), engine, *how.values())
    with _lock:
        if key not in _loaded_already:
            try:
                _loaded_already[key] = info.predictor(path, **how)
            except ModuleNotFoundError as error:
                install = info.install.get(error.name or "", "install it")
                raise PlanError(
                    f"{error.name} is not installed on {socket.gethostname()}: {install}, or use "
                    "another --engine"
                ) from error
        return _loaded_already[key]
