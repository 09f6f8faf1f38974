"""The list of engines, and the facts of each that are known before it is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from seg_batch.core import hardware
from seg_batch.core.registry import Registry

AUTO = "auto"
SLOWEST = 30e9  # operations a second and core, where nothing was measured


@dataclass(frozen=True, kw_only=True)
class EngineInfo:
    """The facts of an engine for planning, costs and choice; an engine overrides the methods below.

    ``predictor``: the class that loads a file of weights (`nn.engines.batched.ModelPredictor`).
    ``formats``: the formats of weights, as in cards, each with a noun for its models. ``install``: the
    command that installs each required library. ``libraries``: those whose versions can change a result;
    ``reported``: those named in reports. ``memory_bytes``: of the process before any patch;
    ``activation_share``: the part of a card's ``activation_bytes`` that a patch takes. ``flops_per_core``:
    multiply-adds x 2 a second by precision, with AVX-512. ``uses_gpu``: where there is one.
    """

    name: str
    predictor: Any = None
    formats: Mapping[str, str] = field(default_factory=dict)
    install: Mapping[str, str] = field(default_factory=dict)
    libraries: tuple[str, ...] = ()
    reported: tuple[str, ...] = ()
    memory_bytes: int = 0
    activation_share: float = 1.0
    flops_per_core: Mapping[str, float] = field(default_factory=dict)
    flops_below_avx512: float = SLOWEST
    uses_gpu: bool = True

    def needs(self) -> tuple[str, ...]:
        """The libraries that workers must have in the version of this process."""
        return self.libraries

    def unfit(self) -> str | None:
        """The reason why it can't run in this process; None where it can."""
        return None

    def claim(self, gpus: int, is_installed: Callable[[str], bool]) -> tuple[int, str] | None:
        """Its rank and the reason for an automatic choice; None where it must not be chosen."""
        return None

    def precision(self, gpus: int) -> str:
        """The default precision, ``float32`` or ``mixed``."""
        return hardware.default_precision()

    def takes_one_thread(self, avx512: bool) -> bool:
        """Whether it takes one thread per process on a CPU, for the sake of equal bits."""
        return False


# In the order in which they are listed.
ENGINES: Registry[EngineInfo] = Registry(
    {
        "openvino": "seg_batch.nn.engines.openvino:INFO",
        "tensorflow": "seg_batch.nn.engines.tensorflow:INFO",
        "keras": "seg_batch.nn.engines.keras_backends:INFO",
    }
)


def engine_names() -> tuple[str, ...]:
    """The values of ``--engine``."""
    return (AUTO, *ENGINES)


def info_of(engine: str) -> EngineInfo:
    """The facts of an engine; an empty value for other names, as for a model that is a function."""
    return ENGINES[engine] if engine in ENGINES else EngineInfo(name=engine)


def engine_on(*, gpu: bool) -> str:
    """The first engine that uses GPUs, or the first that never does."""
    return next(name for name, info in ENGINES.items() if info.uses_gpu == gpu)
