"""What ``--cluster`` says, as one frozen value: read and checked here, before any Dask is imported.

A word (``auto``, ``inline``, ``local``), an address (``tcp://`` or ``tls://``), or the YAML file (or
the mapping of a workflow) that names a Dask cluster class and its arguments::

    cluster: dask_jobqueue.SLURMCluster
    arguments: {cores: 8, memory: 24GB, walltime: "04:00:00"}
    adapt: {minimum: 1, maximum: 12}
    lifetime: 3h50m

Such a file can submit jobs, so it runs commands in your name: read one before you use it. What it can't
do is name any other class than those in ``CLASSES``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from seg_batch.config.yaml_source import Where, YamlSource, parse_tree, text_of
from seg_batch.core.errors import ClusterError, WorkflowError
from seg_batch.core.text import nearest
from seg_batch.core.units import parse_bytes, parse_seconds

WORDS = ("auto", "inline", "local")
ADDRESS = re.compile(r"(tcp|tls)://[^\s/@]+:\d{1,5}")
TLS_FOLDER = "SEGBATCH_TLS"

# Class -> what pip installs for it. Nothing else is ever imported for a spec.
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


class Adapt(BaseModel):
    """Workers come and go with the work, between these numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    minimum: Annotated[int, Field(ge=1)] = 1
    maximum: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum} is above maximum {self.maximum}")
        return self


class ClusterSpec(BaseModel):
    """Where the work runs.

    ``workers``: processes; 0: as many as ``--workers`` says. ``security``: the folder that
    ``segbatch cluster certs`` made. ``lifetime``: after how long a worker hands its work over and
    ends, which must come before its job does. ``wait``: how long the first worker may take to come.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cluster: str = "auto"
    arguments: dict[str, Any] = {}
    workers: Annotated[int, Field(ge=0)] = 0
    adapt: Adapt | None = None
    security: str | None = None
    lifetime: str | None = None
    wait: str = "10m"

    @property
    def here(self) -> bool:
        """Whether the processes are on this machine, and share its memory."""
        return self.cluster in (*WORDS, "distributed.LocalCluster", "dask_cuda.LocalCUDACluster")

    @property
    def most_workers(self) -> int:
        """Processes at once at most, as far as the spec says; 0: it does not."""
        return self.adapt.maximum if self.adapt else self.workers

    @property
    def worker_memory_bytes(self) -> int:
        """What each process of a queue's job may take; 0: the spec does not say."""
        told = self.arguments.get("memory")
        if told is None or not self.cluster.startswith("dask_jobqueue."):
            return 0
        return parse_bytes(str(told)) // max(1, int(self.arguments.get("processes", 1)))

    @property
    def lifetime_s(self) -> float | None:
        return None if self.lifetime is None else parse_seconds(self.lifetime)

    @property
    def wait_s(self) -> float:
        return parse_seconds(self.wait)

    @model_validator(mode="before")
    @classmethod
    def _one_name(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and str(given.get("cluster", "")).startswith("dask.distrib"):
            return {**given, "cluster": str(given["cluster"]).removeprefix("dask.")}
        return given

    @field_validator("lifetime", "wait")
    @classmethod
    def _a_length(cls, given: str | None) -> str | None:
        assert given is None or parse_seconds(given) > 0  # ValueError where it is none
        return given

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        known = self.cluster in (*WORDS, *CLASSES) or ADDRESS.fullmatch(self.cluster)
        if not known:
            raise ValueError(_unknown(self.cluster))
        named = self.cluster in CLASSES
        for key in ("arguments", "adapt", "lifetime"):
            if getattr(self, key) and not named:
                raise ValueError(f"{key} belongs to a cluster class, not to {self.cluster}")
        if self.adapt and self.workers:
            raise ValueError("workers and adapt exclude each other: give one of them")
        assert self.worker_memory_bytes >= 0  # ValueError where it is no size
        self._require_keys_fit()
        return self

    def _require_keys_fit(self) -> None:
        """Certificates where they are needed, and only where they can be used."""
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


def read_spec(given: str | Mapping[str, Any] | ClusterSpec) -> ClusterSpec:
    """The spec that a command line, a workflow or a file gives.

    Raises ClusterError, in one line, for what can't be read, is unknown or makes no sense.
    """
    if isinstance(given, ClusterSpec):
        return given
    if isinstance(given, Mapping):
        return _checked(YamlSource(given), "cluster", Path.cwd())
    if given in WORDS or "://" in given:
        return _checked(YamlSource({"cluster": given}), "--cluster", Path.cwd())
    path = Path(given)
    if path.suffix not in (".yaml", ".yml"):
        raise ClusterError(f"--cluster {_unknown(given)}; {nearest(given, WORDS)}")
    return _checked(_said_in(path), str(path), path.absolute().parent)


def _said_in(path: Path) -> YamlSource:
    try:
        tree = parse_tree(text_of(path), str(path))
    except WorkflowError as error:
        raise ClusterError(f"the cluster spec {error.message}") from None
    if not isinstance(tree.plain, dict) or "cluster" not in tree.plain:
        raise ClusterError(
            f"{path} names no cluster: give it a line like cluster: dask_jobqueue.SLURMCluster"
        )
    return tree


def _checked(said: YamlSource, where: str, folder: Path) -> ClusterSpec:
    """The spec in ``said``; a relative ``security`` is seen from ``folder``."""
    given = dict(said.plain)
    folder_of_keys = given.get("security")
    if folder_of_keys is None and given.get("cluster") not in WORDS:
        folder_of_keys = os.environ.get(TLS_FOLDER) or None
    if isinstance(folder_of_keys, str):
        given["security"] = str(folder / Path(folder_of_keys).expanduser())
    try:
        return ClusterSpec.model_validate(given)
    except ValidationError as error:
        loc, unknown, what = _first(error)
        place = said.place(loc, of_key=unknown) if said.values else where
        raise ClusterError(f"{place}: {what}") from None


def _first(error: ValidationError) -> tuple[Where, bool, str]:
    """The first complaint: of what; whether that is a key which is not known; and in words, with the
    nearest key."""
    first = error.errors()[0]
    loc = first["loc"]
    key = ".".join(map(str, loc))
    if first["type"] == "extra_forbidden":
        model = Adapt if loc[0] == "adapt" else ClusterSpec
        return loc, True, f"unknown key {key!r}; {nearest(loc[-1], model.model_fields)}"
    what = first["msg"].removeprefix("Value error, ")
    return loc, False, f"{key}: {what}" if key else what
