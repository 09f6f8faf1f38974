"""The value of ``--cluster``, read and checked before Dask is imported.

It is a word (``auto``, ``inline``, ``local``), an address (``tcp://`` or ``tls://``), or a YAML file (in a
workflow also a mapping) with a Dask cluster class and its arguments::

    cluster: dask_jobqueue.SLURMCluster
    arguments: {cores: 8, memory: 24GB, walltime: "04:00:00"}
    adapt: {minimum: 1, maximum: 12}
    lifetime: 3h50m

Such a file submits jobs, and so runs commands in your name: read one before you use it. It can name the
classes in ``CLASSES`` only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from seg_batch.config.validation import CheckedValue, Duration, keys_in, models_at
from seg_batch.core.errors import ClusterError, WorkflowError
from seg_batch.core.text import nearest
from seg_batch.core.units import parse_bytes, parse_seconds

if TYPE_CHECKING:
    from seg_batch.config.yaml_source import YamlSource

WORDS = ("auto", "inline", "local")
ADDRESS = re.compile(r"(tcp|tls)://[^\s/@]+:\d{1,5}")
TLS_FOLDER = "SEGBATCH_TLS"

# Class -> what pip installs for it. A spec imports nothing else.
CLASSES = {
    "distributed.LocalCluster": "distributed",
    "distributed.SSHCluster": "'distributed' asyncssh",
    "dask_cuda.LocalCUDACluster": "dask-cuda",
    "dask_kubernetes.operator.KubeCluster": "dask-kubernetes",
    **{
        f"dask_jobqueue.{queue}Cluster": "'segbatch[slurm]'"
        for queue in ("SLURM", "PBS", "SGE", "LSF", "OAR", "HTCondor", "Moab", "local.Local")
    },
}

UNSECURED = (*WORDS, "distributed.SSHCluster", "dask_kubernetes.operator.KubeCluster")


class Adapt(CheckedValue):
    """The number of workers follows the work, between these limits."""

    minimum: Annotated[int, Field(ge=1)] = 1
    maximum: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum} is above maximum {self.maximum}")
        return self


class ClusterSpec(CheckedValue):
    """Where the work runs.

    ``workers``: processes; 0: as many as ``--workers`` says. ``security``: the folder that
    ``segbatch cluster certs`` made. ``lifetime``: the time after which a worker hands its work over and
    ends, shorter than that of its job. ``wait``: how long to wait for the first worker.
    """

    cluster: str = "auto"
    arguments: dict[str, Any] = Field(default_factory=dict)
    workers: Annotated[int, Field(ge=0)] = 0
    adapt: Adapt | None = None
    security: str | None = None
    lifetime: Duration | None = None
    wait: Duration = "10m"

    @property
    def here(self) -> bool:
        """Whether the processes run on this machine and share its memory."""
        return self.cluster in (*WORDS, "distributed.LocalCluster", "dask_cuda.LocalCUDACluster")

    @property
    def most_workers(self) -> int:
        """The largest number of processes at once; 0: the spec names none."""
        return self.adapt.maximum if self.adapt else self.workers

    @property
    def worker_memory_bytes(self) -> int:
        """Memory of each process of a queue's job, in bytes; 0: the spec names none."""
        memory = self.arguments.get("memory")
        if memory is None or not self.cluster.startswith("dask_jobqueue."):
            return 0
        return parse_bytes(str(memory)) // max(1, int(self.arguments.get("processes", 1)))

    @property
    def lifetime_s(self) -> float | None:
        return None if self.lifetime is None else parse_seconds(self.lifetime)

    @property
    def wait_s(self) -> float:
        return parse_seconds(self.wait)

    @model_validator(mode="before")
    @classmethod
    def _without_dask(cls, data: Any) -> Any:
        """``dask.distributed`` is another name of ``distributed``."""
        if isinstance(data, Mapping) and str(data.get("cluster", "")).startswith("dask.distrib"):
            return {**data, "cluster": str(data["cluster"]).removeprefix("dask.")}
        return data

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        is_class = self.cluster in CLASSES
        if not (is_class or self.cluster in WORDS or ADDRESS.fullmatch(self.cluster)):
            raise ValueError(_unknown(self.cluster))
        for key in ("arguments", "adapt", "lifetime"):
            if getattr(self, key) and not is_class:
                raise ValueError(f"{key} belongs to a cluster class, not to {self.cluster}")
        if self.adapt and self.workers:
            raise ValueError("workers and adapt exclude each other: give one of them")
        assert self.worker_memory_bytes >= 0  # ValueError where it is no size
        self._check_certificates()
        return self

    def _check_certificates(self) -> None:
        """ValueError where certificates are missing, or given and not usable."""
        if self.security and self.cluster in UNSECURED:
            raise ValueError(
                f"{self.cluster} takes no certificates: leave out security and {TLS_FOLDER}, or "
                "start scheduler and workers with them yourself and name the tls:// address"
            )
        if self.cluster.startswith("tls://") and not self.security:
            raise ValueError(
                f"{self.cluster} asks for certificates: name their folder as security: DIR or "
                f"{TLS_FOLDER}=DIR (`segbatch cluster certs DIR` makes them)"
            )
        if self.cluster.startswith("tcp://") and self.security:
            raise ValueError(
                f"{self.cluster} is not encrypted although certificates are given: use "
                f"tls://, or leave out security and {TLS_FOLDER}"
            )


def _unknown(cluster: str) -> str:
    text = cluster[:80]
    if "." in text and "/" not in text:
        return f"no cluster class {text!r}; {nearest(text, CLASSES)}"
    if "://" in text:
        return f"{text!r} is no address: write it like tcp://host:8786 or tls://host:8786"
    return (
        f"{text!r} is unknown: use auto, inline, local, tcp://host:8786, tls://host:8786 or a YAML "
        "file like those in workflows/clusters"
    )


def read_spec(cluster: str | Mapping[str, Any] | ClusterSpec) -> ClusterSpec:
    """The spec that a command line, a workflow or a file gives.

    ClusterError, in one line, where it can't be read, is unknown or contradicts itself.
    """
    if isinstance(cluster, ClusterSpec):
        return cluster
    if isinstance(cluster, Mapping):
        return _checked(dict(cluster), "cluster", Path.cwd())
    if cluster in WORDS or "://" in cluster:
        return _checked({"cluster": cluster}, "--cluster", Path.cwd())
    path = Path(cluster)
    if path.suffix not in (".yaml", ".yml"):
        raise ClusterError(f"--cluster {_unknown(cluster)}; {nearest(cluster, WORDS)}")
    tree = _read_tree(path)
    return _checked(dict(tree.plain), str(path), path.absolute().parent, tree)


def _read_tree(path: Path) -> YamlSource:
    from seg_batch.config.yaml_source import parse_tree, text_of

    try:
        tree = parse_tree(text_of(path), str(path))
    except WorkflowError as error:
        raise ClusterError(f"the cluster spec {error.message}") from None
    if not isinstance(tree.plain, dict) or "cluster" not in tree.plain:
        raise ClusterError(
            f"{path} names no cluster: give it a line like cluster: dask_jobqueue.SLURMCluster"
        )
    return tree


def _checked(
    plain: dict[str, Any], where: str, folder: Path, tree: YamlSource | None = None
) -> ClusterSpec:
    """The spec of ``plain`` values, those of ``tree``, if any; a relative ``security`` starts at ``folder``."""
    certificates = plain.get("security")
    if certificates is None and plain.get("cluster") not in WORDS:
        certificates = os.environ.get(TLS_FOLDER) or None
    if isinstance(certificates, str):
        plain["security"] = str(folder / Path(certificates).expanduser())
    try:
        return ClusterSpec.model_validate(plain)
    except ValidationError as error:
        first = error.errors()[0]
        loc, unknown = first["loc"], first["type"] == "extra_forbidden"
        place = tree.place(loc, of_key=unknown) if tree else where
        raise ClusterError(f"{place}: {_reason(first)}") from None


def _reason(fault: Any) -> str:
    """A fault of pydantic's in words, with the nearest key for an unknown one."""
    loc = fault["loc"]
    key = ".".join(map(str, loc))
    if fault["type"] == "extra_forbidden":
        known = keys_in(models_at(ClusterSpec, loc[:-1]))
        return f"unknown key {key!r}; {nearest(loc[-1], known)}"
    text = fault["msg"].removeprefix("Value error, ")
    return f"{key}: {text}" if key else text
