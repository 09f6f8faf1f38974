"""A SavedModel in TensorFlow Serving's layout: ``<model>/1/saved_model.pb``, signature
``serving_default``, for REST (``{"instances": [...]}``) and gRPC alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.core.errors import DamagedError
from seg_batch.nn.export.job import INPUT, OUTPUT, SIGNATURE, Exported, ExportJob, tensor

PREDICT = "tensorflow/serving/predict"


def write(order: ExportJob, folder: Path) -> dict[str, Any]:
    from seg_batch.nn.export.saved_graph import loaded, write_trunk

    write_trunk(loaded(order), order, folder / "1")
    return {"signature": SIGNATURE}


def read(path: Path) -> Exported:
    from seg_batch.nn.backend import tf

    tensors = served(path)
    function = tf.saved_model.load(str(path)).signatures[SIGNATURE]

    def predict(patches: np.ndarray) -> np.ndarray:
        probabilities: np.ndarray = function(**{INPUT: tf.constant(patches)})[OUTPUT].numpy()
        return probabilities

    return Exported(predict, tensors, {"tensorflow": tf.__version__})


def served(path: Path) -> dict[str, Any]:
    """Names, dtypes and shapes of the signature that TensorFlow Serving reads, ``saved_model.pb``.

    Raises DamagedError if the signature has other tensors or another method.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    from seg_batch.nn.backend import tf

    saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    graph = next(g for g in saved.meta_graphs if "serve" in g.meta_info_def.tags)
    signature = graph.signature_def[SIGNATURE]
    names = (list(signature.inputs), list(signature.outputs), signature.method_name)
    if names != ([INPUT], [OUTPUT], PREDICT):
        raise DamagedError(
            f"{path} has the signature {names}, which TensorFlow Serving can't offer"
        )

    def row(name: str, info: Any) -> dict[str, Any]:
        dtype = tf.dtypes.as_dtype(info.dtype).name
        return tensor(name, dtype, [d.size for d in info.tensor_shape.dim])

    return {
        "input": row(INPUT, signature.inputs[INPUT]),
        "output": row(OUTPUT, signature.outputs[OUTPUT]),
    }
