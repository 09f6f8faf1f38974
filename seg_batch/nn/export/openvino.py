"""OpenVINO's IR: float32 weights, or int8 by post-training quantisation (NNCF).

int8 quantises weights per channel and activations per tensor, with ranges from calibration patches.
Layers that NNCF skips stay in floating point, in the precision of the engine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.nn.export.job import Exported, ExportJob, tensor


def write(order: ExportJob, folder: Path) -> dict[str, Any]:
    import tempfile

    from seg_batch.nn.engines.openvino.library import openvino
    from seg_batch.nn.export.saved_graph import loaded, write_trunk

    with tempfile.TemporaryDirectory(dir=folder, prefix="trunk-") as trunk:
        write_trunk(loaded(order), order, Path(trunk))
        model = openvino.convert_model(trunk)
    facts: dict[str, Any] = {}
    if order.quantize == "int8":
        model, facts = _quantised(model, order)
    openvino.save_model(model, folder / "model.xml", compress_to_fp16=False)
    return facts


def _quantised(model: Any, order: ExportJob) -> tuple[Any, dict[str, Any]]:
    import nncf

    patches = order.calibration
    assert patches is not None
    data = nncf.Dataset([patch[None] for patch in patches])
    return nncf.quantize(model, data, subset_size=len(patches)), {"nncf": nncf.__version__}


def read(path: Path, precision: str = "f32") -> Exported:
    from seg_batch.nn.engines.openvino.library import openvino, openvino_core

    model = openvino_core().read_model(path)
    compiled = openvino_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision})

    def predict(patches: np.ndarray) -> np.ndarray:
        return np.array(compiled(patches)[0], np.float32)

    def row(port: Any) -> dict[str, Any]:
        sizes = [d.get_length() if d.is_static else None for d in port.get_partial_shape()]
        return tensor(port.get_any_name(), port.get_element_type().to_string(), sizes)

    tensors = {"input": row(model.input(0)), "output": row(model.output(0))}
    return Exported(predict, tensors, {"openvino": openvino.__version__.split("-")[0]})
