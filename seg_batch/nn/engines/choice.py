"""Which engine a run takes, and why. It looks whether they are there; only `class_of` imports one."""

import importlib
import os
import socket
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from seg_batch.config.predict_options import ENGINES
from seg_batch.core import hardware
from seg_batch.core.errors import PlanError

OTHERS = ("jax", "torch")  # what Keras computes with where not with TensorFlow
INSTALL = {
    "openvino": "pip install 'segbatch[cpu]'",
    "tensorflow": "pip install tensorflow",
    "jax": "pip install jax",
    "torch": "pip install torch",
}


CLASSES = {
    "openvino": ("seg_batch.nn.engines.openvino", "OpenVINOPredictor"),
    "tensorflow": ("seg_batch.nn.engines.tensorflow", "KerasPredictor"),
    "keras": ("seg_batch.nn.engines.keras_backends", "AnyKerasPredictor"),
}


@dataclass(frozen=True)
class Choice:
    """The engine, the precision it computes in ("float32" or "mixed"), and why that engine."""

    engine: str
    precision: str
    why: str


def choose(asked: str, *, gpus: int, precision: str = "auto", format: str = "keras") -> Choice:
    """The engine for a bundle whose weights are of `format`, on a machine with `gpus` GPUs.

    `asked` is one of `ENGINES`. ``auto``: Keras on JAX or PyTorch where KERAS_BACKEND says so;
    TensorFlow where there is a GPU; else OpenVINO; else TensorFlow. PlanError, in one line, for an
    engine that is unknown, not installed or unfit.
    """
    if asked not in ENGINES:
        raise PlanError(f"--engine {asked!r} is unknown: use one of {', '.join(ENGINES)}")
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    engine, why = _automatic(gpus, format, backend) if asked == "auto" else (asked, "asked for")
    _require_fit(engine, format, backend)
    _require_installed(backend if engine == "keras" else engine)
    return Choice(engine, _precision(precision, engine, gpus), why)


def _automatic(gpus: int, format: str, backend: str) -> tuple[str, str]:
    if format == "openvino":
        return "openvino", "the bundle is an OpenVINO model"
    if backend in OTHERS:
        return "keras", f"KERAS_BACKEND is {backend}"
    if gpus and _is_installed("tensorflow"):
        return "tensorflow", f"there {'is a GPU' if gpus == 1 else f'are {gpus} GPUs'}"
    if _is_installed("openvino"):
        return "openvino", "the fastest on a CPU"
    return "tensorflow", f"OpenVINO, faster on a CPU, is not installed: {INSTALL['openvino']}"


def _require_fit(engine: str, format: str, backend: str) -> None:
    if format == "openvino" and engine != "openvino":
        raise PlanError(f"--engine {engine} can't run an OpenVINO model: use --engine openvino")
    if engine == "keras" and backend not in OTHERS:
        raise PlanError(
            f"--engine keras runs on {' or '.join(OTHERS)} and KERAS_BACKEND is {backend}: set it "
            "to one of them, or use --engine tensorflow"
        )
    if engine == "tensorflow" and backend != "tensorflow":
        raise PlanError(
            f"--engine tensorflow can't run while KERAS_BACKEND is {backend}: unset it, or use "
            "--engine keras"
        )


def _require_installed(library: str) -> None:
    if not _is_installed(library):
        raise PlanError(f"{library} is not installed: {INSTALL[library]}, or use another --engine")


def _is_installed(library: str) -> bool:
    return find_spec(library) is not None


def _precision(asked: str, engine: str, gpus: int) -> str:
    if asked != "auto":
        return asked
    if engine == "openvino":
        return "mixed" if hardware.has_bfloat16() else "float32"
    if engine == "keras" and not gpus:
        return "float32"  # JAX and PyTorch gain nothing from bfloat16 on a CPU
    return hardware.default_precision()


def class_of(engine: str) -> type[Any]:
    """PlanError where the engine is not installed: a worker need not have what the planner has."""
    module, name = CLASSES[engine]
    try:
        found: type[Any] = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise PlanError(
            f"{error.name} is not installed on {socket.gethostname()}: "
            f"{INSTALL.get(error.name or '', 'install it')}, or use another --engine"
        ) from error
    return found
