"""The inference engines, and what is known of each before its library is imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from seg_batch.core import hardware
from seg_batch.core.registry import Registry

AUTO = "auto"
SLOWEST = 30e9  # operations per second and core, where nothing was measured


@dataclass(frozen=True, kw_only=True)
class EngineInfo:
    """What planning, costs and the choice of an engine need; an engine overrides the methods.

    ``predictor``: the class that loads a file of weights (`nn.engines.batched.ModelPredictor`).
    ``formats``: of weights, as cards name them -> the name of such a model. ``install``: required
    library -> how to install it. ``libraries``: those whose versions can change a result;
    ``reported``: those that reports list. ``memory_bytes``: of the process before any patch;
    ``activation_share``: the part of a card's ``activation_bytes`` that a patch takes; ``weights_share``: how often a process
    holds a card's ``weights_bytes`` while it loads them.
    ``flops_per_core``: precision -> multiply-adds x 2 per second, with AVX-512. ``uses_gpu``: whether
    it uses a GPU where there is one; ``gpu_install``: what to install so that it does. ``start_s``: seconds until it computes a model that it had before.
    """

    name: str
    predictor: Any = None
    formats: Mapping[str, str] = field(default_factory=dict)
    install: Mapping[str, str] = field(default_factory=dict)
    libraries: tuple[str, ...] = ()
    reported: tuple[str, ...] = ()
    memory_bytes: int = 0
    activation_share: float = 1.0
    weights_share: float = 1.0
    flops_per_core: Mapping[str, float] = field(default_factory=dict)
    flops_below_avx512: float = SLOWEST
    uses_gpu: bool = True
    gpu_install: str = ""
    start_s: float = 0.5

    def needs(self) -> tuple[str, ...]:
        """The libraries that workers must have in the same version as this process."""
        return self.libraries

    def unfit(self) -> str | None:
        """Why it can't run in this process; None where it can."""
        return None

    def lacks(self, precision: str, gpus: int) -> str | None:
        """Why it can't compute in that precision here; None where it can."""
        return None

    def claim(self, gpus: int, is_installed: Callable[[str], bool]) -> tuple[int, str] | None:
        """Its priority where the user names no engine, and the reason; None: it is not chosen."""
        return None

    def precision(self, gpus: int) -> str:
        """``float32`` or ``mixed``, where the user names no precision."""
        return hardware.default_precision()

    def takes_one_thread(self, avx512: bool) -> bool:
        """Whether it uses one thread per process on a CPU, so that results are equal bit for bit."""
        return False


# In the order of lists.
ENGINES: Registry[EngineInfo] = Registry(
    {
        "openvino": "seg_batch.nn.engines.openvino.engine:INFO",
        "tensorflow": "seg_batch.nn.engines.tensorflow:INFO",
        "keras": "seg_batch.nn.engines.keras_backends:INFO",
        "onnxruntime": "seg_batch.nn.engines.onnxruntime:INFO",
    }
)


def engine_names() -> tuple[str, ...]:
    """The values of ``--engine``."""
    return (AUTO, *ENGINES)


def info_of(engine: str) -> EngineInfo:
    """The info of an engine; defaults for any other predictor, such as a Python function."""
    return ENGINES[engine] if engine in ENGINES else EngineInfo(name=engine)


def engine_on(*, gpu: bool) -> str:
    """The first engine that uses a GPU where there is one, or the first that never does."""
    return next(name for name, info in ENGINES.items() if info.uses_gpu == gpu)
