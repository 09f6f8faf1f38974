"""ONNX, for onnxruntime and for TensorRT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.nn.export.job import INPUT, OUTPUT, Exported, ExportJob, tensor

OPSET = 17  # the newest that tf2onnx writes well and TensorRT 8.6 and later fully support


def write(order: ExportJob, folder: Path) -> dict[str, Any]:
    import tf2onnx

    from seg_batch.nn.backend import tf
    from seg_batch.nn.export.saved_graph import loaded, open_spec, probabilities

    model = loaded(order)
    signature = [open_spec(model)]
    function = tf.function(
        lambda image: {OUTPUT: probabilities(model, image)}, input_signature=signature
    )
    tf2onnx.convert.from_function(
        function, signature, opset=OPSET, output_path=str(folder / "model.onnx")
    )
    return {"opset": OPSET, "tf2onnx": tf2onnx.__version__}


def read(path: Path) -> Exported:
    import onnx
    import onnxruntime

    onnx.checker.check_model(str(path), full_check=True)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def predict(patches: np.ndarray) -> np.ndarray:
        (probabilities,) = session.run([OUTPUT], {INPUT: patches})
        return np.asarray(probabilities)

    sides = {"input": session.get_inputs(), "output": session.get_outputs()}
    tensors = {
        side: tensor(t.name, t.type.removeprefix("tensor(").rstrip(")"), t.shape)
        for side, (t,) in sides.items()
    }
    return Exported(predict, tensors, {"onnxruntime": onnxruntime.__version__})
