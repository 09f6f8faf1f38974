"""The Dask cluster classes that a spec may name: found, completed with what our work needs, started.

What a spec's arguments leave open is settled here: as many tasks at once as a plan promises memory
for, no pausing and spilling (the plan has promised less), pages of the scheduler on loopback only,
and for a queue certificates of this run's own when no others are named.
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
STAGGER = 0.05  # of a lifetime: workers end one after another
MEMORY_OFF = tuple(f"DASK_DISTRIBUTED__WORKER__MEMORY__{what}=False"
                   for what in ("TARGET", "SPILL", "PAUSE", "TERMINATE"))  # fmt: skip
KEEPING_LITTLE = tuple(
    f"DASK_{name.upper().replace('.', '__').replace('-', '_')}={SETTINGS[name]}"
    for name in ("distributed.worker.profile.enabled", "distributed.admin.low-level-log-length")
)


def start_cluster(spec: ClusterSpec, workers: int, certs: Path | None) -> Any:
    """The cluster that ``spec`` names, asked for ``workers`` processes (or its own bounds).

    ClusterError, in one line, for a library that is missing, an argument that is unknown, and
    whatever the class itself complains of.
    """
    factory = class_of(spec.cluster)
    _require_known(spec, factory)
    arguments = _COMPLETED.get(_family(spec), _as_given)(spec, workers)
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
    """Ask for the processes. Jobs of a queue end before the work does (lifetime, ``scancel``, a node
    that fails), so there the number is kept up; elsewhere a nanny restarts what dies."""
    if spec.adapt:
        cluster.adapt(minimum=spec.adapt.minimum, maximum=spec.adapt.maximum)
    elif _family(spec) == "queue":
        cluster.adapt(minimum=workers, maximum=workers)
    elif _family(spec) in ("LocalCluster", "KubeCluster"):
        cluster.scale(workers)


def _known(factory: Any) -> set[str]:
    """Names of the arguments that a class and what it passes them on to take."""
    if not inspect.isclass(factory):
        return set()
    makers = [*factory.__mro__, *getattr(factory, "job_cls", object).__mro__]
    if factory.__module__.startswith("distributed."):
        from distributed import Nanny, Worker

        makers += [*Nanny.__mro__, *Worker.__mro__]
    found = {
        name
        for maker in makers
        if "__init__" in vars(maker) and maker is not object
        for name, parameter in inspect.signature(maker.__init__).parameters.items()
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    }
    return found - {"self"}


def _require_known(spec: ClusterSpec, factory: Any) -> None:
    if _family(spec) not in ("queue", "LocalCluster"):
        return  # they complain themselves
    known = _known(factory)
    for name in spec.arguments:
        if name not in known:
            raise ClusterError(
                f"{spec.cluster} takes no argument {name!r}; {nearest(name, sorted(known))}"
            )


def _as_given(spec: ClusterSpec, workers: int) -> dict[str, Any]:
    return dict(spec.arguments)


def _local(spec: ClusterSpec, workers: int) -> dict[str, Any]:
    given = dict(spec.arguments)
    lifetime = {} if spec.lifetime_s is None else {"lifetime": spec.lifetime_s}
    return {
        "threads_per_worker": IN_FLIGHT,
        "processes": True,
        "memory_limit": 0,
        "dashboard_address": LOOPBACK,
        "silence_logs": 50,
        **lifetime,
        **given,
        "n_workers": 0,
        "env": {**environment(0, workers), **_mapping(given, "env")},
        "config": {**SETTINGS, **_mapping(given, "config")},
    }


def _cuda(spec: ClusterSpec, workers: int) -> dict[str, Any]:
    own = {"threads_per_worker": IN_FLIGHT, "memory_limit": 0, "dashboard_address": LOOPBACK}
    counted = {"n_workers": workers} if spec.workers else {}
    config = {**SETTINGS, **_mapping(spec.arguments, "config")}
    return {**own, "silence_logs": 50, **counted, **spec.arguments, "config": config}


def _kubernetes(spec: ClusterSpec, workers: int) -> dict[str, Any]:
    return {"n_workers": spec.adapt.minimum if spec.adapt else workers, **spec.arguments}


def _ssh(spec: ClusterSpec, workers: int) -> dict[str, Any]:
    given = dict(spec.arguments)
    lifetime = {} if spec.lifetime_s is None else {"lifetime": spec.lifetime}
    worker = {"nthreads": IN_FLIGHT, "memory_limit": 0, **lifetime}
    return {
        **given,
        "worker_options": {**worker, **_mapping(given, "worker_options")},
        "scheduler_options": {
            "dashboard_address": LOOPBACK,
            **_mapping(given, "scheduler_options"),
        },
    }


def _queue(spec: ClusterSpec, workers: int) -> dict[str, Any]:
    given = dict(spec.arguments)
    extra = ["--nthreads", str(IN_FLIGHT), "--dashboard-address", LOOPBACK]
    if spec.lifetime_s is not None:
        stagger = spec.lifetime_s * STAGGER
        extra += ["--lifetime", f"{spec.lifetime_s - stagger:.0f}s"]
        extra += ["--lifetime-stagger", f"{stagger:.0f}s"]
    done = {
        **given,
        "processes": _whole(given, "processes"),
        "worker_extra_args": [*extra, *_words(given, "worker_extra_args")],
        "scheduler_options": {
            "dashboard_address": LOOPBACK,
            **_mapping(given, "scheduler_options"),
        },
    }
    if spec.cluster != "dask_jobqueue.local.LocalCluster":  # its jobs are no scripts
        share = max(1, _whole(given, "cores") // _whole(given, "processes"))
        threads = (f"TF_NUM_INTRAOP_THREADS={share}", "TF_NUM_INTEROP_THREADS=1")
        settings = ("PYTHONSAFEPATH=1", *threads, *MEMORY_OFF, *KEEPING_LITTLE)
        lines = [f"export {setting}" for setting in settings]
        done["job_script_prologue"] = [*lines, *_words(given, "job_script_prologue")]
    return done


def _words(given: Mapping[str, Any], name: str) -> list[str]:
    """A list among the arguments; empty where it is not given. ClusterError for anything else: a
    text would be taken letter by letter."""
    found = given.get(name)
    if found is None:
        return []
    if isinstance(found, list) and all(isinstance(word, str) for word in found):
        return found
    raise ClusterError(f"arguments: {name}: {found!r} is no list of words: write [one, two]")


def _mapping(given: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = given.get(name)
    if found is None or isinstance(found, dict):
        return found or {}
    raise ClusterError(f"arguments: {name}: {found!r} is no mapping: write {{name: value}}")


def _whole(given: Mapping[str, Any], name: str) -> int:
    """A number from 1 on; 1 where it is not given."""
    found = given.get(name)
    if found is None:
        return 1
    if isinstance(found, int) and not isinstance(found, bool) and found > 0:
        return found
    raise ClusterError(f"arguments: {name}: {found!r} is no whole number from 1 on: write one")


_COMPLETED: Mapping[str, Callable[[ClusterSpec, int], dict[str, Any]]] = {
    "queue": _queue,
    "LocalCluster": _local,
    "LocalCUDACluster": _cuda,
    "KubeCluster": _kubernetes,
    "SSHCluster": _ssh,
}


def opens_to_others(spec: ClusterSpec) -> bool:
    """Whether the scheduler listens where other hosts reach it, and we make it."""
    return _family(spec) == "queue"


def walltime_s(spec: ClusterSpec) -> float | None:
    """How long a job of this spec may run: its own argument, or the site's Dask settings."""
    if _family(spec) != "queue":
        return None
    told = spec.arguments.get("walltime")
    if told is None:
        import dask

        class_of(spec.cluster)  # reads the site's settings
        queue = spec.cluster.rpartition(".")[2].removesuffix("Cluster").lower()
        told = dask.config.get(f"jobqueue.{queue}.walltime", None)
    return None if told is None else _queue_seconds(str(told))


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
    """A line where jobs would be ended by their wall time in the middle of a block.

    ClusterError for a lifetime that is not before it.
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
