"""The Dask cluster classes that a cluster spec may name: imported, given our defaults, started.

Defaults for what a spec's arguments leave open: as many tasks at once as the plan counts memory for,
no pausing and spilling (the plan's memory is below that), the scheduler's pages on loopback only, and
for a batch queue certificates of this run's own unless others are named.
"""

from __future__ import annotations

import importlib
import inspect
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from seg_batch.config.cluster import CLASSES, ClusterSpec
from seg_batch.core.errors import ClusterError
from seg_batch.core.text import nearest
from seg_batch.core.units import duration_to_write
from seg_batch.executors.cluster.certificates import security_of
from seg_batch.executors.cluster.dask_settings import SETTINGS, environment
from seg_batch.executors.pool import IN_FLIGHT

LOOPBACK = "127.0.0.1:0"
ON_THIS_MACHINE = {
    "threads_per_worker": IN_FLIGHT,
    "memory_limit": 0,
    "dashboard_address": LOOPBACK,
    "silence_logs": 50,
}
STAGGER = 0.05  # of a lifetime: workers end one after another
MEMORY_OFF = tuple(f"DASK_DISTRIBUTED__WORKER__MEMORY__{what}=False"
                   for what in ("TARGET", "SPILL", "PAUSE", "TERMINATE"))  # fmt: skip
KEEPING_LITTLE = tuple(
    f"DASK_{name.upper().replace('.', '__').replace('-', '_')}={SETTINGS[name]}"
    for name in ("distributed.worker.profile.enabled", "distributed.admin.low-level-log-length")
)


def start_cluster(spec: ClusterSpec, workers: int, certs: Path | None) -> Any:
    """The cluster that ``spec`` names, scaled to ``workers`` processes (or to the spec's own bounds).

    ClusterError, in one line, for a missing library, an unknown argument, and any error of the class.
    """
    factory = class_of(spec.cluster)
    _require_known(spec, factory)
    arguments = _COMPLETED.get(_family(spec), lambda spec, _: dict(spec.arguments))(spec, workers)
    if certs is not None:
        arguments["security"] = security_of(certs)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cluster = factory(**arguments)
        _scale(cluster, spec, workers)
    except ImportError as error:
        raise _missing(spec.cluster, error) from None
    except Exception as error:
        why = " ".join(str(error).split())[:300]
        raise ClusterError(
            f"{spec.cluster} can't be started ({type(error).__name__}: {why}): mend its arguments"
        ) from None
    return cluster


def class_of(name: str) -> Callable[..., Any]:
    """One of ``CLASSES``, imported."""
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)  # type: ignore[no-any-return]
    except (ImportError, AttributeError) as error:
        raise _missing(name, error) from None


def _missing(name: str, error: Exception) -> ClusterError:
    return ClusterError(
        f"{name} needs a library that is not installed ({error}): pip install {CLASSES[name]}"
    )


def _family(spec: ClusterSpec) -> str:
    return "queue" if spec.cluster.startswith("dask_jobqueue.") else spec.cluster.rpartition(".")[2]


def _scale(cluster: Any, spec: ClusterSpec, workers: int) -> None:
    """Request the processes. Jobs of a queue may end before the work does (lifetime, ``scancel``, a
    failed node), so there their number is maintained; elsewhere a nanny restarts dead processes."""
    if spec.adapt:
        cluster.adapt(minimum=spec.adapt.minimum, maximum=spec.adapt.maximum)
    elif _family(spec) == "queue":
        cluster.adapt(minimum=workers, maximum=workers)
    elif _family(spec) in ("LocalCluster", "KubeCluster"):
        cluster.scale(workers)


def _known(factory: Any) -> set[str]:
    """Names of the arguments of a class and of the classes that it passes them on to."""
    if not inspect.isclass(factory):
        return set()
    makers = [*factory.__mro__, *getattr(factory, "job_cls", object).__mro__]
    if factory.__module__.startswith("distributed."):
        from distributed import Nanny, Worker

        makers += [*Nanny.__mro__, *Worker.__mro__]
    names = {
        name
        for maker in makers
        if "__init__" in vars(maker) and maker is not object
        for name, parameter in inspect.signature(maker.__init__).parameters.items()
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    }
    return names - {"self"}


def _require_known(spec: ClusterSpec, factory: Any) -> None:
    if _family(spec) not in ("queue", "LocalCluster"):
        return  # these raise an error themselves
    known = _known(factory)
    for name in spec.arguments:
        if name not in known:
            raise ClusterError(
                f"{spec.cluster} takes no argument {name!r}; {nearest(name, sorted(known))}"
            )


def _local(spec: ClusterSpec, workers: int) -> dict[str, Any]:
    arguments = spec.arguments
    lifetime = {} if spec.lifetime_s is None else {"lifetime": spec.lifetime_s}
    return {
        **ON_THIS_MACHINE,
        "processes": True,
        **lifetime,
        **arguments,
        "n_workers": 0,
        "env": {**environment(0, workers), **_mapping(arguments, "env")},
        "config": {**SETTINGS, **_mapping(arguments, "config")},
    }


def _cuda(spec: ClusterSpec, workers: int) -> dict[str, Any]:
    number = {"n_workers": workers} if spec.workers else {}
    config = {**SETTINGS, **_mapping(spec.arguments, "config")}
    return {**ON_THIS_MACHINE, **number, **spec.arguments, "config": config}


def _kubernetes(spec: ClusterSpec, workers: int) -> dict[str, Any]:
    return {"n_workers": spec.adapt.minimum if spec.adapt else workers, **spec.arguments}


def _ssh(spec: ClusterSpec, workers: int) -> dict[str, Any]:
    arguments = spec.arguments
    lifetime = {} if spec.lifetime_s is None else {"lifetime": spec.lifetime}
    worker = {"nthreads": IN_FLIGHT, "memory_limit": 0, **lifetime}
    return {
        **arguments,
        "worker_options": {**worker, **_mapping(arguments, "worker_options")},
        "scheduler_options": _scheduler_options(arguments),
    }


def _scheduler_options(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {"dashboard_address": LOOPBACK, **_mapping(arguments, "scheduler_options")}


def _queue(spec: ClusterSpec, workers: int) -> dict[str, Any]:
    arguments = spec.arguments
    processes = _whole(arguments, "processes")
    extra = ["--nthreads", str(IN_FLIGHT), "--dashboard-address", LOOPBACK]
    if spec.lifetime_s is not None:
        stagger = spec.lifetime_s * STAGGER
        extra += ["--lifetime", f"{spec.lifetime_s - stagger:.0f}s"]
        extra += ["--lifetime-stagger", f"{stagger:.0f}s"]
    completed = {
        **arguments,
        "processes": processes,
        "worker_extra_args": [*extra, *_words(arguments, "worker_extra_args")],
        "scheduler_options": _scheduler_options(arguments),
    }
    if spec.cluster != "dask_jobqueue.local.LocalCluster":  # its jobs have no scripts
        share = max(1, _whole(arguments, "cores") // processes)
        threads = (f"TF_NUM_INTRAOP_THREADS={share}", "TF_NUM_INTEROP_THREADS=1")
        settings = ("PYTHONSAFEPATH=1", *threads, *MEMORY_OFF, *KEEPING_LITTLE)
        lines = [f"export {setting}" for setting in settings]
        completed["job_script_prologue"] = [*lines, *_words(arguments, "job_script_prologue")]
    return completed


def _words(arguments: Mapping[str, Any], name: str) -> list[str]:
    """A list of words; a plain text would be taken letter by letter."""

    def are_words(value: Any) -> bool:
        return isinstance(value, list) and all(isinstance(word, str) for word in value)

    return list(_argument(arguments, name, [], are_words, "list of words: write [one, two]"))


def _mapping(arguments: Mapping[str, Any], name: str) -> dict[str, Any]:
    advice = "mapping: write {name: value}"
    return dict(_argument(arguments, name, {}, lambda value: isinstance(value, dict), advice))


def _whole(arguments: Mapping[str, Any], name: str) -> int:
    def is_positive(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value > 0

    return int(_argument(arguments, name, 1, is_positive, "whole number from 1 on: write one"))


def _argument(
    arguments: Mapping[str, Any], name: str, default: Any, fits: Callable[[Any], bool], kind: str
) -> Any:
    """The argument, or the default where it is missing; ClusterError unless it ``fits``."""
    value = arguments.get(name)
    if value is None or fits(value):
        return default if value is None else value
    raise ClusterError(f"arguments: {name}: {value!r} is no {kind}")


_COMPLETED: Mapping[str, Callable[[ClusterSpec, int], dict[str, Any]]] = {
    "queue": _queue,
    "LocalCluster": _local,
    "LocalCUDACluster": _cuda,
    "KubeCluster": _kubernetes,
    "SSHCluster": _ssh,
}


def opens_to_others(spec: ClusterSpec) -> bool:
    """Whether we start a scheduler that other hosts can reach."""
    return _family(spec) == "queue"


def walltime_s(spec: ClusterSpec) -> float | None:
    """Seconds that a job of this spec may run: from its arguments, or the site's Dask settings."""
    if _family(spec) != "queue":
        return None
    walltime = spec.arguments.get("walltime")
    if walltime is None:
        import dask

        class_of(spec.cluster)  # reads the site's settings
        queue = spec.cluster.rpartition(".")[2].removesuffix("Cluster").lower()
        walltime = dask.config.get(f"jobqueue.{queue}.walltime", None)
    return None if walltime is None else _queue_seconds(str(walltime))


_CLOCK = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")


def _queue_seconds(text: str) -> float | None:
    """``"04:00:00"``, ``"1-12"``, ``"90"`` (minutes) or ``"30:00"`` (minutes and seconds), as SLURM
    reads them; None for what has no end."""
    match = _CLOCK.fullmatch(text.strip())
    if match is None:
        return None
    days, *rest = match.groups()
    numbers = [int(part) for part in rest if part is not None]
    if days is None:  # [minutes], [minutes, seconds] or [hours, minutes, seconds]
        numbers = [0] * (len(numbers) < 3) + numbers
    hours, minutes, second = [*numbers, 0, 0][:3]
    return int(days or 0) * 86400 + hours * 3600 + minutes * 60 + second


def lifetime_advice(spec: ClusterSpec) -> tuple[str, ...]:
    """A line for the user where the wall time would end jobs in the middle of a block.

    ClusterError for a lifetime that is not below the wall time.
    """
    limit = walltime_s(spec)
    if limit is None or "--lifetime" in _words(spec.arguments, "worker_extra_args"):
        return ()
    end = duration_to_write(limit)
    best = duration_to_write(limit - max(120.0, limit * STAGGER) if limit > 240 else limit / 2)
    if spec.lifetime_s is None:
        return (
            f"jobs end after {end}, in the middle of a block: set lifetime: {best} in the "
            "cluster spec, and workers hand over before that",
        )
    if spec.lifetime_s >= limit:
        raise ClusterError(
            f"lifetime: {spec.lifetime} is not before the jobs' end after {end}, so "
            f"blocks would be lost: use {best} or a longer walltime"
        )
    return ()
