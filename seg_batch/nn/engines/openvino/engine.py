"""A bundle as a predictor on OpenVINO, the fastest engine on CPUs: without Keras and TensorFlow.

Measurements (OpenVINO 2026.4, Zen 5, two cores) and their consequences:

- A patch has one result to the last bit for any number of threads, in float32 and in bfloat16, with
  the instructions of any x86-64 (SSE4.1, AVX2, AVX-512), for operators that tests know (`openvino.threads`). Networks
  with others are tried (`steady`), and elsewhere each one.
- ``precision="mixed"`` is bfloat16, refused where the CPU does not compute in it: OpenVINO would silently
  use another type there, and workers would differ. Layers that stay float32: `openvino.precision`.
- Threads are not pinned to cores: several processes would all take the first ones.
"""

import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.core import hardware
from seg_batch.core.errors import BundleError, PlanError
from seg_batch.core.registry.engines import EngineInfo
from seg_batch.nn.engines.batched import (
    Forward,
    LoadedNetwork,
    ModelPredictor,
    Shape,
    unfit_shape,
)
from seg_batch.nn.engines.fixed_shapes import alone_or_filled, filled, require_sides
from seg_batch.nn.engines.onnx_file import read_whole
from seg_batch.nn.engines.openvino.cache import convert_cached, read
from seg_batch.nn.engines.openvino.library import openvino, openvino_core
from seg_batch.nn.engines.openvino.onnx_model import parsed_onnx
from seg_batch.nn.engines.openvino.precision import split_by_precision
from seg_batch.nn.engines.openvino.threads import made_steady
from seg_batch.nn.engines.steady import is_x86, with_equal_bits
from seg_batch.nn.weights import verified

MODEL = "openvino"  # the format in cards of a model in OpenVINO's own files
INSTALL = "pip install 'segbatch[cpu]'"


class OpenVINOPredictor(ModelPredictor):
    """The model in a ``.keras`` or ``.onnx`` file, or in ``model.xml`` and ``model.bin``; see `ModelPredictor`.

    A ``.keras`` file is converted once (`openvino.cache`); an ``.onnx`` file is parsed each time, in a tenth of a second. PlanError if the CPU has no bfloat16 and
    `precision` is "mixed".
    """

    def load(self, weights: Path, sha256: str | None) -> LoadedNetwork:
        self._core = openvino_core()
        if self.precision == "mixed" and not _has_bfloat16(self._core):
            raise PlanError(
                "this CPU does not compute in bfloat16, which --precision mixed asks OpenVINO for: "
                "use --precision float32"
            )
        onnx = weights.suffix == ".onnx"
        if onnx:
            data = read_whole(weights, sha256)
            self._model = parsed_onnx(self._core, data, str(weights), self.network)
        else:
            hashed = verified(weights, sha256)
            files = read(weights) if weights.suffix == ".xml" else convert_cached(weights, hashed)
            self._model = _parsed(self._core, files, weights)
        image, scores = self._model.input(0).partial_shape, self._model.output(0).partial_shape
        _require_images(self._model, weights)
        # A file made here has no fixed sides that a card does not name, and keeps its open batch.
        fixed = [n.get_length() if onnx and n.is_static else None for n in image]
        self._batch, self._sides = fixed[0], fixed[1:-1]
        self._is_steady = made_steady(self._model)
        return LoadedNetwork(
            self._compile,
            channels=image[-1].get_length(),
            rank=len(image) - 2,
            outputs=scores[-1].get_length(),
            activated=onnx,
        )

    def _compile(self, shape: Shape) -> Forward:
        """The network for arrays of exactly `shape`; InputError if it can't take that."""
        require_sides(shape, self._sides)
        if is_x86() and self._is_steady:
            return self._of_batch(shape, _threads())
        return with_equal_bits(lambda n: self._of_batch(shape, n), _threads(), shape)

    def _of_batch(self, shape: Shape, threads: int) -> Forward:
        """The same, also where the file fixes another batch."""
        if self._batch in (None, shape[0]):
            return self._compiled(shape, threads)
        whole = filled(self._compiled((self._batch, *shape[1:]), threads), self._batch)
        return alone_or_filled(lambda: self._compiled(shape, threads), whole, shape)

    def _compiled(self, shape: Shape, threads: int) -> Forward:
        model = self._model.clone()
        try:
            model.reshape(list(shape))
            compiled = [
                self._core.compile_model(part, "CPU", _config(precision, threads))
                for part, precision in split_by_precision(model, self.precision)
            ]
            chain = [part.create_infer_request() for part in compiled]
        except RuntimeError as error:
            raise unfit_shape(shape, error) from error
        for before, after in pairwise(chain):
            after.set_input_tensor(before.get_output_tensor())

        def run(x: np.ndarray) -> np.ndarray:
            image = np.ascontiguousarray(x, np.float32)
            chain[0].set_input_tensor(openvino.Tensor(image, shared_memory=True))
            for request in chain:
                request.infer()
            y: np.ndarray = chain[-1].get_output_tensor().data.copy()
            return y

        return run


def _has_bfloat16(core: Any) -> bool:
    """OpenVINO lists what the CPU can do, even where oneDNN may not use it."""
    listed = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return listed and hardware.may_use_bfloat16()


def _threads() -> int:
    return int(os.environ.get("TF_NUM_INTRAOP_THREADS") or hardware.cores())


def _config(precision: str, threads: int) -> dict[str, object]:
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": precision,
    }


def _parsed(core: Any, files: tuple[bytes, bytes], path: Path) -> Any:
    """The model of bytes that were checked, not of files that may change meanwhile."""
    xml, numbers = files
    tensor = openvino.Tensor(np.frombuffer(numbers, np.uint8).copy())
    try:
        model = core.read_model(xml, tensor)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise BundleError(
            f"{path} is no model that OpenVINO can read ({reason}); get the bundle again"
        ) from error
    return model


def _require_images(model: Any, path: Path) -> None:
    ends = [*model.inputs, *model.outputs]
    one_of_each = len(model.inputs) == len(model.outputs) == 1
    if not (one_of_each and all(map(_is_image, ends))):
        types = ", ".join(f"{end.partial_shape} {end.element_type.to_string()}" for end in ends)
        raise BundleError(
            f"{path} has inputs and outputs {types}; a segmentation model "
            "has one of each, (batch, *spatial, channels), of floats"
        )


def _is_image(end: Any) -> bool:
    shape = end.partial_shape
    known = shape.rank.is_static and len(shape) in (4, 5) and shape[-1].is_static
    return bool(known and end.element_type == openvino.Type.f32)


class _OpenVINO(EngineInfo):
    def claim(self, gpus: int, is_installed: Callable[[str], bool]) -> tuple[int, str] | None:
        return (1, "the fastest on a CPU") if is_installed("openvino") else None

    def precision(self, gpus: int) -> str:
        return "mixed" if hardware.has_bfloat16() else "float32"


# Memory was measured in fresh processes, both starter bundles, 2-D up to 1024 x 1024, 3-D up to
# 96 x 112 x 96: all buffers are laid out beforehand, 101 MiB and 0.60 of the card's activation_bytes (an
# upper estimate, for TensorFlow) in float32, 0.68 where bfloat16 is used as well. Speed: in bfloat16 300e9
# (Zen 5, wide networks) and 130e9 (Zen 4, the starters); in float32 100e9 and 76e9; with AVX2 32e9
# (Zen 3, busy) to 94e9 (Zen 4).
INFO = _OpenVINO(
    name="openvino",
    predictor=OpenVINOPredictor,
    formats={MODEL: "an OpenVINO model", "keras": "a Keras model", "onnx": "an ONNX model"},
    install={"openvino": INSTALL},
    libraries=("openvino",),
    reported=("openvino",),
    memory_bytes=200 << 20,
    activation_share=0.75,
    weights_share=6.0,  # an ONNX file of 38 MiB: 5.2 times that
    flops_per_core={"mixed": 200e9, "float32": 90e9},
    flops_below_avx512=55e9,
    uses_gpu=False,
)
