"""The engine of a run, and the reason. Checks which engines are installed, and loads none."""

from collections.abc import Collection
from dataclasses import dataclass
from importlib.util import find_spec

from seg_batch.core.errors import PlanError
from seg_batch.core.registry.engines import AUTO, ENGINES, EngineInfo, engine_names


@dataclass(frozen=True)
class Choice:
    """The engine, the precision it computes in ("float32" or "mixed"), and why that engine."""

    engine: str
    precision: str
    why: str


def choose(
    wanted: str, *, gpus: int, precision: str = "auto", formats: Collection[str] = ("keras",)
) -> Choice:
    """The engine for bundles whose weights are of `formats`, on a machine with `gpus` GPUs.

    `wanted` is one of `engine_names()`. ``auto``: the only one that reads the formats, else the one with
    the highest claim (`EngineInfo.claim`). PlanError, in one line, for an engine that is unknown, not
    installed or unfit.
    """
    if wanted not in engine_names():
        raise PlanError(f"--engine {wanted!r} is unknown: use one of {', '.join(engine_names())}")
    engine, why = _automatic(gpus, formats) if wanted == AUTO else (wanted, "asked for")
    info = ENGINES[engine]
    for format in formats:
        if format not in info.formats:
            able = _reading(formats)[0]
            raise PlanError(
                f"--engine {info.name} can't run {able.formats[format]}: use --engine {able.name}"
            )
    if reason := info.unfit():
        raise PlanError(reason)
    for library, install in info.install.items():
        if library in info.needs() and not _is_installed(library):
            raise PlanError(f"{library} is not installed: {install}, or use another --engine")
    precision = info.precision(gpus) if precision == "auto" else precision
    if reason := info.lacks(precision, gpus):
        raise PlanError(reason)
    return Choice(engine, precision, why)


def _reading(formats: Collection[str]) -> list[EngineInfo]:
    return [info for info in ENGINES.values() if info.formats.keys() >= set(formats)]


def _automatic(gpus: int, formats: Collection[str]) -> tuple[str, str]:
    able = _reading(formats)
    if len(able) == 1:
        models = " and ".join(able[0].formats[name] for name in sorted(formats))
        why = "the bundle is" if len(formats) == 1 else "it alone runs both"
        return able[0].name, f"{why} {models}"
    claims = ((info.claim(gpus, _is_installed), info.name) for info in able)
    nothing = (-1, "nothing that runs it is installed"), able[0].name
    (_, why), engine = max([(claim, name) for claim, name in claims if claim] or [nothing])
    if gpus and not ENGINES[engine].uses_gpu:
        hints = (f"; for the GPU: {info.gpu_install}" for info in able if info.gpu_install)
        why += next(hints, "")
    return engine, why


def _is_installed(library: str) -> bool:
    return find_spec(library) is not None
