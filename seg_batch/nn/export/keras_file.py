"""Keras' own formats: ``.keras``, and HDF5 for older tools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.nn.export.job import INPUT, OUTPUT, Exported, ExportJob, tensor


def write(order: ExportJob, folder: Path) -> dict[str, Any]:
    """The model without folding, so that it can be trained further."""
    from seg_batch.nn.loading import load_model

    model = load_model(order.weights, sha256=order.sha256)
    model.save(folder / f"model.{order.name}")
    return {}


def read(path: Path) -> Exported:
    from seg_batch.nn.backend import keras
    from seg_batch.nn.export.saved_graph import probabilities
    from seg_batch.nn.loading import in_float32

    model = in_float32(keras.models.load_model(path, safe_mode=True, compile=False))

    def predict(patches: np.ndarray) -> np.ndarray:
        return np.asarray(probabilities(model, patches))

    tensors = {
        "input": tensor(INPUT, "float32", model.input_shape),
        "output": tensor(OUTPUT, "float32", model.output_shape),
    }
    return Exported(predict, tensors, {"keras": keras.__version__})
