"""An ONNX file as a predictor on ONNX Runtime: on GPUs, and where OpenVINO is not.

- On a CPU it computes in float32. Sums may be split by the number of threads, so each network is tried (`steady`).
- On a GPU (``onnxruntime-gpu``) CUDA computes it, in TF32 where `precision` is "mixed". Algorithms are not timed, as
  another one would be chosen on another day. TensorRT times them, and takes minutes for each shape: it computes,
  in float16 where "mixed", only where ``SEGBATCH_TENSORRT=1``; what it built is kept in the user's cache.
- Layouts are turned in NumPy, and the activation is `output.finished`: the file is run as it came.
"""

import importlib
import os
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.config.card_parts.network import Tensors
from seg_batch.core import hardware
from seg_batch.core.errors import BundleError, PlanError
from seg_batch.core.registry.engines import EngineInfo
from seg_batch.core.text import without_colours
from seg_batch.nn.engines.batched import (
    Forward,
    LoadedNetwork,
    ModelPredictor,
    Shape,
    unfit_shape,
)
from seg_batch.nn.engines.fixed_shapes import filled, require_sides
from seg_batch.nn.engines.onnx_file import read_whole
from seg_batch.nn.engines.steady import warn_of_one_thread
from seg_batch.nn.noise import noise

INSTALL = "pip install 'segbatch[onnx]'"
INSTALL_OPENVINO = "pip install 'segbatch[cpu]'"
INSTALL_GPU = "pip install 'segbatch[onnx-gpu]'"
TENSORRT = "SEGBATCH_TENSORRT"  # at 1: TensorRT where it is installed
DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
_CPU, _CUDA, _TENSORRT = (f"{name}ExecutionProvider" for name in ("CPU", "CUDA", "Tensorrt"))

type Provider = tuple[str, dict[str, str]]


class OnnxRuntimePredictor(ModelPredictor):
    """The model in an ``.onnx`` file; see `ModelPredictor`. PlanError where `precision` is "mixed" without a GPU."""

    def load(self, weights: Path, sha256: str | None) -> LoadedNetwork:
        self._library = importlib.import_module("onnxruntime")
        self._providers = providers(self._library.get_available_providers(), self.precision)
        gpu = len(self._providers) > 1
        if self.precision == "mixed" and not gpu:
            raise PlanError(_NO_MIXED)
        self._data, self._file = read_whole(weights, sha256), weights
        self._threads = int(os.environ.get("TF_NUM_INTRAOP_THREADS") or hardware.cores())
        self._kept: Any = None  # the session of all shapes
        session = self._session(1, as_it_is=True)
        self._tensors = tensors = self.network.tensors or Tensors()
        self._image = _named(session.get_inputs(), tensors.input, "input", weights)
        scores = _named(session.get_outputs(), tensors.output, "output", weights)
        self._scores = scores.name
        self._first = tensors.layout == "channels_first"
        batch, *sides, channels = _channels_last(self._image.shape, self._first)
        outputs = _channels_last(scores.shape, self._first)[-1]
        self._batch, *self._sides = (n if isinstance(n, int) else None for n in (batch, *sides))
        return LoadedNetwork(
            self._compile,
            channels=_known(channels, "input", weights),
            rank=len(sides),
            outputs=_known(outputs, "output", weights),
            gpu=gpu,
            exhausted=(MemoryError, _OutOfMemoryError),
        )

    def _compile(self, shape: Shape) -> Forward:
        """The network for arrays of exactly `shape`; InputError if it can't take that."""
        require_sides(shape, self._sides)
        if len(self._providers) > 1 or self._threads == 1:
            return self._with_all_threads(shape)
        image = noise(shape)
        # First, and let go: each session holds the weights twice.
        expected = self._of_batch(self._session(1), shape)(image)
        many = self._with_all_threads(shape)
        if np.array_equal(many(image), expected, equal_nan=True):
            return many
        warn_of_one_thread("ONNX Runtime")
        self._threads, self._kept = 1, None
        return self._with_all_threads(shape)

    def _with_all_threads(self, shape: Shape) -> Forward:
        self._kept = self._kept or self._session(self._threads)
        return self._of_batch(self._kept, shape)

    def _of_batch(self, session: Any, shape: Shape) -> Forward:
        """The network for `shape`, also where the file fixes another batch."""
        if self._batch in (None, shape[0]):
            return self._forward(session, shape)
        return filled(self._forward(session, (self._batch, *shape[1:])), self._batch)

    def _forward(self, session: Any, shape: Shape) -> Forward:
        first, image, scores = self._first, self._image.name, [self._scores]
        dtype = DTYPES[self._image.type]

        def run(x: np.ndarray) -> np.ndarray:
            x = np.moveaxis(x, -1, 1) if first else x
            try:
                (y,) = session.run(scores, {image: np.ascontiguousarray(x, dtype)})
            except Exception as error:  # the library does not export its own
                if _is_of_memory(error):
                    raise _OutOfMemoryError(str(error)) from error
                raise unfit_shape(shape, error) from error
            return np.ascontiguousarray(np.moveaxis(y, 1, -1) if first else y, np.float32)

        return run

    def _session(self, threads: int, *, as_it_is: bool = False) -> Any:
        """The file, ready to compute; `as_it_is`: not made faster, to read its tensors."""
        options = self._library.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = 4  # what goes wrong is raised
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if as_it_is:
            level = self._library.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.graph_optimization_level = level
            options.add_session_config_entry("session.disable_prepacking", "1")
        computing = [(_CPU, {})] if as_it_is else self._providers
        try:
            return self._library.InferenceSession(self._data, options, providers=list(computing))
        except Exception as error:  # as above
            words = " ".join(without_colours(str(error)).split())[:300]
            raise BundleError(
                f"{self._file} is no ONNX model that ONNX Runtime can read ({words}); get the bundle again, or use "
                "another --engine"
            ) from error


class _OutOfMemoryError(MemoryError):
    pass


def _is_of_memory(error: Exception) -> bool:
    words = str(error).lower()
    return "out of memory" in words or "failed to allocate" in words


def providers(available: Sequence[str], precision: str) -> list[Provider]:
    """What computes, the first first; the CPU comes last, for what others lack."""
    chosen: list[Provider] = []
    mixed = "1" if precision == "mixed" else "0"
    if hardware.gpus() and _CUDA in available:
        if _TENSORRT in available and os.environ.get(TENSORRT) == "1":
            options = {"trt_fp16_enable": mixed, "trt_engine_cache_enable": "1"}
            kept = str(hardware.user_cache("tensorrt"))
            chosen.append((_TENSORRT, {**options, "trt_engine_cache_path": kept}))
        chosen.append((_CUDA, {"use_tf32": mixed, "cudnn_conv_algo_search": "HEURISTIC"}))
    return [*chosen, (_CPU, {})]


def _named(tensors: Sequence[Any], name: str, role: str, path: Path) -> Any:
    """The tensor of that name, or the only one; BundleError unless it is one of patches."""
    named = [t for t in tensors if not name or t.name == name]
    listed = ", ".join(f"{t.name} {t.type} {t.shape}" for t in tensors[:4])
    if len(named) != 1 or (role == "input" and len(tensors) != 1):
        raise BundleError(f"{path} has as {role}s {listed}; its card names {name or 'none'}")
    if len(named[0].shape) not in (4, 5) or named[0].type not in DTYPES:
        raise BundleError(
            f"{path} has as {role} {listed}: a network of patches takes and gives floats of rank 4 or 5"
        )
    return named[0]


def _channels_last(shape: Sequence[Any], first: bool) -> list[Any]:
    batch, *rest = shape
    return [batch, *rest[1:], rest[0]] if first else [batch, *rest]


def _known(channels: Any, role: str, path: Path) -> int:
    if isinstance(channels, int) and channels > 0:
        return channels
    raise BundleError(
        f"{path} leaves the channels of its {role} open, which ONNX Runtime does not infer: export it with the batch "
        "and the sides alone open"
    )


_NO_MIXED = (
    "ONNX Runtime computes in float32 on a CPU: use --precision float32, or --engine openvino, which computes in "
    "bfloat16 where the CPU does"
)


@cache
def _has_cuda() -> bool:
    """Whether the installed library computes on GPUs; it is not imported."""
    spec = find_spec("onnxruntime")
    folders = spec.submodule_search_locations or () if spec else ()
    return any(list(Path(f, "capi").glob("*onnxruntime_providers_cuda*")) for f in folders)


def _distribution() -> str:
    """What pip calls the installed library."""
    try:
        return str(distribution("onnxruntime-gpu").metadata["Name"])
    except PackageNotFoundError:
        return "onnxruntime"


class _OnnxRuntime(EngineInfo):
    def needs(self) -> tuple[str, ...]:
        return (_distribution(),)

    def claim(self, gpus: int, is_installed: Callable[[str], bool]) -> tuple[int, str] | None:
        if gpus and self.uses_gpu and is_installed("onnxruntime"):
            return 2, f"there {'is a GPU' if gpus == 1 else f'are {gpus} GPUs'}"
        why = f"OpenVINO, faster on a CPU, is not installed: {INSTALL_OPENVINO}"
        return (0, why) if is_installed("onnxruntime") else None

    def precision(self, gpus: int) -> str:
        return "mixed" if gpus and self.uses_gpu else "float32"

    def lacks(self, precision: str, gpus: int) -> str | None:
        return _NO_MIXED if precision == "mixed" and not (gpus and self.uses_gpu) else None


# Measured with `models bench` (Zen 4): 80 MiB with a small network; with an EfficientNet U-Net in a file of 38 MiB 434 MiB,
# and 40e9 operations per second of two cores, as fast as OpenVINO on the same day.
INFO = _OnnxRuntime(
    name="onnxruntime",
    predictor=OnnxRuntimePredictor,
    formats={"onnx": "an ONNX model"},
    install={"onnxruntime": INSTALL},
    libraries=("onnxruntime",),
    reported=("onnxruntime", "onnxruntime-gpu"),
    memory_bytes=200 << 20,
    weights_share=9.0,
    flops_per_core={"mixed": 90e9, "float32": 60e9},
    flops_below_avx512=40e9,
    uses_gpu=_has_cuda(),
    gpu_install="" if _has_cuda() else INSTALL_GPU,
)
