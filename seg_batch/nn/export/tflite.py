"""LiteRT (once TensorFlow Lite), for phones and small boards: one patch at a time, of fixed shape.

Tests (ai-edge-litert 2.3.0, TensorFlow 2.21) show that LiteRT has no 3-D pooling, which ``planar``
replaces with identical results, and that it runs 3-D convolutions, plain and transposed, in
floating point only: for 8 bits, the converter leaves their weights unchanged. Such a file is
refused, as it would be int8 in name only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.core.errors import InputError
from seg_batch.nn.export.job import INPUT, OUTPUT, SIGNATURE, Exported, ExportJob, tensor

SMALLER = 0.6  # of the float32 bytes: 8 bits are a quarter of 32, and the graph adds some


def write(order: ExportJob, folder: Path) -> dict[str, Any]:
    import tempfile

    from seg_batch.nn.export.planar import with_planar_pools
    from seg_batch.nn.export.saved_graph import loaded, write_trunk

    model = with_planar_pools(loaded(order), order.patch)
    with tempfile.TemporaryDirectory(dir=folder, prefix="trunk-") as trunk:
        write_trunk(model, order, Path(trunk), batch=1)
        if order.quantize in ("dynamic", "int8"):  # "dynamic" converts quickly and tells for both
            _require_smaller(_converted(trunk, "dynamic", None), 4 * model.count_params())
        content = _converted(trunk, order.quantize, order.calibration)
    (folder / "model.tflite").write_bytes(content)
    return {}


def _require_smaller(content: bytes, bytes_float32: int) -> None:
    if len(content) > SMALLER * bytes_float32:
        raise InputError(
            f"LiteRT has no 8-bit form of this network's layers (of {bytes_float32} bytes "
            f"{len(content)} remain; 3-D convolutions are such): use --quantize float32 or float16, "
            "or --to openvino --int8"
        )


def _converted(trunk: str, quantize: str, patches: np.ndarray | None) -> bytes:
    from seg_batch.nn.backend import tf

    converter = tf.lite.TFLiteConverter.from_saved_model(trunk, signature_keys=[SIGNATURE])
    if quantize != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantize == "int8":
        assert patches is not None
        converter.representative_dataset = lambda: ([patch[None]] for patch in patches)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    content: bytes = converter.convert()
    return content


def read(path: Path) -> Exported:
    import ai_edge_litert
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()  # this is the call that writes to standard error
    run = interpreter.get_signature_runner(SIGNATURE)

    def predict(patches: np.ndarray) -> np.ndarray:
        return np.concatenate([run(**{INPUT: patch[None]})[OUTPUT] for patch in patches])

    def row(name: str, details: dict[str, Any]) -> dict[str, Any]:
        return tensor(name, np.dtype(details["dtype"]), details["shape"].tolist())

    tensors = {
        "input": row(INPUT, run.get_input_details()[INPUT]),
        "output": row(OUTPUT, run.get_output_details()[OUTPUT]),
    }
    return Exported(predict, tensors, {"ai-edge-litert": ai_edge_litert.__version__})
