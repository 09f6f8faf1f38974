"""The key ``cluster`` of a workflow: a value of ``--cluster``, checked at its place in the file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationInfo

from seg_batch.config.cluster import TLS_FOLDER, WORDS, ClusterSpec
from seg_batch.config.workflow.paths import ReadingContext, path_of


def _cluster(value: object, info: ValidationInfo) -> object:
    """A word, an address, the path of a spec, or a spec; ValueError for another value."""
    if isinstance(value, Mapping):
        return ClusterSpec.model_validate(_with_certificates(value, info))
    if not isinstance(value, str):
        return value
    if value in WORDS or "://" in value or not value.endswith((".yaml", ".yml")):
        ClusterSpec.model_validate(_with_certificates({"cluster": value}, info))
        return str(value)
    return path_of(value, info)


def _with_certificates(plain: Mapping[str, Any], info: ValidationInfo) -> dict[str, Any]:
    """The spec with the folder of its certificates: its own, or that of the environment."""
    env = info.context.env if isinstance(info.context, ReadingContext) else os.environ
    own = plain.get("security")
    if own is None and plain.get("cluster") not in WORDS and env.get(TLS_FOLDER):
        own = os.path.abspath(env[TLS_FOLDER])
    return {**plain, "security": path_of(own, info)} if own is not None else dict(plain)


Cluster = Annotated[str | ClusterSpec, BeforeValidator(_cluster)]
