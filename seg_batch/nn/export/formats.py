"""The formats by name: file, libraries, precisions, tolerance."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from seg_batch.core.errors import InputError
from seg_batch.core.text import nearest


@dataclass(frozen=True)
class Tolerance:
    """The allowed difference of an exported model from Keras in float32 on real patches.

    ``difference``: the largest of all probabilities; ``mean``: their average; ``agreement``: the
    least share of voxels with the same label; ``why``: the cause of differences. In 8 bits a voxel
    on the border of a class may change its class, so there the mean and the labels decide, and the
    Dice if there is a held-out part.
    """

    difference: float
    mean: float
    agreement: float
    why: str


TOLERANCES = {
    "same": Tolerance(1e-5, 1e-6, 0.9999, "the same operations in float32, joined in other ways"),
    "float32": Tolerance(1e-4, 1e-5, 0.9999, "float32 sums in another order, batch norm folded"),
    "float16": Tolerance(0.05, 1e-3, 0.999, "weights rounded to 11 bits"),
    "dynamic": Tolerance(
        1.0, 0.01, 0.98, "weights in 8 bits, activations in 8 bits patch by patch"
    ),
    "int8": Tolerance(1.0, 0.01, 0.98, "weights and activations in 8 bits of a range seen before"),
}
DICE_LOSS = 0.01  # allowed loss of mean Dice by int8, if there is a held-out part to measure it


@dataclass(frozen=True)
class ExportFormat:
    """``file``: its name in the export's folder. ``module``: of this package. ``libraries``: needed
    modules, for int8 also ``int8_libraries``. ``batch``: patches at once; 0: any number.
    ``quantize``: the supported precisions."""

    name: str
    file: str
    module: str
    says: str
    libraries: tuple[str, ...] = ()
    int8_libraries: tuple[str, ...] = ()
    batch: int = 0
    quantize: tuple[str, ...] = ("float32",)
    tolerance: str = "float32"

    def allowed(self, quantize: str) -> Tolerance:
        return TOLERANCES[self.tolerance if quantize == "float32" else quantize]


FORMATS = {
    form.name: form
    for form in (
        ExportFormat("savedmodel", "1", "savedmodel", "TensorFlow Serving"),
        ExportFormat(
            "tflite",
            "model.tflite",
            "tflite",
            "LiteRT; 3-D in float32 and float16 only",
            ("ai_edge_litert",),
            batch=1,
            quantize=("float32", "float16", "dynamic", "int8"),
        ),
        ExportFormat(
            "onnx",
            "model.onnx",
            "onnx",
            "onnxruntime, TensorRT",
            ("tf2onnx", "onnx", "onnxruntime"),
        ),
        ExportFormat(
            "openvino",
            "model.xml",
            "openvino",
            "OpenVINO, a bundle",
            ("openvino",),
            ("nncf",),
            quantize=("float32", "int8"),
        ),
        ExportFormat("keras", "model.keras", "keras_file", "Keras 3, a bundle", tolerance="same"),
        ExportFormat("h5", "model.h5", "keras_file", "Keras, legacy", tolerance="same"),
    )
}


def chosen(name: str, quantize: str) -> ExportFormat:
    """The format of that name; raises InputError for an unknown name, with the nearest known one, or
    for a precision that the format does not have."""
    if name not in FORMATS:
        raise InputError(f"--to {name!r} is no format of ours; {nearest(name, FORMATS)}")
    form = FORMATS[name]
    if quantize not in form.quantize:
        able = [f"{f.name} ({', '.join(f.quantize)})" for f in FORMATS.values() if f.quantize[1:]]
        raise InputError(
            f"{name} can't be written as {quantize!r}, only as {', '.join(form.quantize)}; "
            f"formats with a choice: {'; '.join(able)}"
        )
    return form


def require_libraries(form: ExportFormat, quantize: str) -> None:
    """Raises InputError with the line that installs the missing libraries."""
    int8 = quantize == "int8" and bool(form.int8_libraries)
    names = form.libraries + (form.int8_libraries if int8 else ())
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        extra = "int8" if int8 else "cpu" if form.name == "openvino" else "export"
        raise InputError(
            f"an export to {form.name} needs {', '.join(missing)}, not installed here: "
            f"pip install 'segbatch[{extra}]'"
        )
