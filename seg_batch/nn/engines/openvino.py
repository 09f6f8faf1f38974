"""A bundle as a predictor on OpenVINO, the fastest on CPUs: no Keras, no TensorFlow.

What was measured (OpenVINO 2026.4, Zen 5, two cores) and what it means here:

- A patch has one result to the last bit for any number of threads, in float32 and in bfloat16, with
  the instructions of any x86-64 (SSE4.1, AVX2, AVX-512). Elsewhere each network is tried (`steady`).
- ``precision="mixed"`` is bfloat16, refused where the CPU does not compute in it: elsewhere it
  would quietly be something else, and workers would differ. What stays float32: `openvino_precision`.
- Threads are not pinned to cores: several processes would all take the first ones.
"""

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.core import hardware
from seg_batch.core.errors import BundleError, PlanError
from seg_batch.nn.engines.batched import (
    Forward,
    ModelPredictor,
    Shape,
    known_precision,
    two_classes,
    unfit_shape,
)
from seg_batch.nn.engines.openvino_cache import converted, read
from seg_batch.nn.engines.openvino_import import core, openvino
from seg_batch.nn.engines.openvino_precision import parts
from seg_batch.nn.engines.steady import is_x86, steadied
from seg_batch.nn.weights import verified


class OpenVINOPredictor(ModelPredictor):
    """The model in a ``.keras`` file, or in ``model.xml`` and ``model.bin``; see `ModelPredictor`.

    A ``.keras`` file is converted once (`openvino_cache`). Raises BundleError if the file is no model of
    this kind, PlanError if the CPU has no bfloat16 and `precision` is "mixed".
    """

    def __init__(
        self,
        weights: Path | str,
        *,
        batch: int = 1,
        precision: str = "float32",
        sha256: str | None = None,
    ) -> None:
        self._core = core()
        if known_precision(precision) == "mixed" and not _has_bfloat16(self._core):
            raise PlanError(
                "this CPU does not compute in bfloat16, which --precision mixed asks OpenVINO for: "
                "use --precision float32"
            )
        path = Path(weights)
        hashed = verified(path, sha256)
        files = read(path) if path.suffix == ".xml" else converted(path, hashed)
        self._model = _parsed(self._core, files, path)
        image, classes = self._model.input(0).partial_shape, self._model.output(0).partial_shape
        super().__init__(
            self._compile,
            batch,
            channels=image[-1].get_length(),
            rank=len(image) - 2,
            outputs=classes[-1].get_length(),
            precision=precision,
        )

    def _compile(self, shape: Shape) -> Forward:
        """The network for arrays of exactly `shape`; InputError if it can't take that."""
        many = self._compiled(shape)
        return many if is_x86() else steadied(many, lambda: self._compiled(shape, 1), shape)

    def _compiled(self, shape: Shape, threads: int | None = None) -> Forward:
        model = self._model.clone()
        try:
            model.reshape(list(shape))
            compiled = [
                self._core.compile_model(part, "CPU", _config(precision, threads))
                for part, precision in parts(model, self.precision)
            ]
            chain = [part.create_infer_request() for part in compiled]
        except RuntimeError as error:
            raise unfit_shape(shape) from error
        for before, after in pairwise(chain):
            after.set_input_tensor(before.get_output_tensor())

        def run(x: np.ndarray) -> np.ndarray:
            image = np.ascontiguousarray(x, np.float32)
            chain[0].set_input_tensor(openvino.Tensor(image, shared_memory=True))
            for request in chain:
                request.infer()
            return two_classes(chain[-1].get_output_tensor().data.copy())

        return run


def _has_bfloat16(core: Any) -> bool:
    """OpenVINO lists what the CPU can do, even where oneDNN may not use it."""
    listed = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return listed and hardware.may_use_bfloat16()


def _config(precision: str, threads: int | None = None) -> dict[str, object]:
    threads = threads or int(os.environ.get("TF_NUM_INTRAOP_THREADS") or hardware.cores())
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": precision,
    }


def _parsed(core: Any, files: tuple[bytes, bytes], path: Path) -> Any:
    """From bytes that were checked, not from files that may change meanwhile."""
    xml, numbers = files
    tensor = openvino.Tensor(np.frombuffer(numbers, np.uint8).copy())
    try:
        model = core.read_model(xml, tensor)
        ends = [*model.inputs, *model.outputs]
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise BundleError(
            f"{path} is no model that OpenVINO can read ({reason}); get the bundle again"
        ) from error
    one_of_each = len(model.inputs) == len(model.outputs) == 1
    if not (one_of_each and all(map(_is_image, ends))):
        found = ", ".join(f"{end.partial_shape} {end.element_type.to_string()}" for end in ends)
        raise BundleError(
            f"{path} has inputs and outputs {found}; a segmentation model "
            "has one of each, (batch, *spatial, channels), of floats"
        )
    return model


def _is_image(end: Any) -> bool:
    shape = end.partial_shape
    known = shape.rank.is_static and len(shape) in (4, 5) and shape[-1].is_static
    return bool(known and end.element_type == openvino.Type.f32)
