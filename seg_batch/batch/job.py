"""The job of a run: inputs, options, cluster and limits, decided before anything runs.

Also the order of inputs, and how many are done at once. The largest come first, so that the longest
does not begin last. An input of one block is *small*: one task on one worker. An input of several
blocks is *large*: its blocks go to all workers, and a thread of the coordinator coordinates it. The
worker decides how much of it fits into its memory at once (``worker_requirements.MemoryGate``).
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from seg_batch.batch.inputs.listing import also_of, list_inputs
from seg_batch.batch.inputs.tables import InputSpec
from seg_batch.batch.journal.events import InputFacts
from seg_batch.config.cluster import read_spec
from seg_batch.config.workflow.schema import Workflow
from seg_batch.core import hardware
from seg_batch.core.errors import SegbatchError, WorkflowError
from seg_batch.core.privacy.addresses import shown
from seg_batch.core.privacy.pseudonym import Teller, hushed
from seg_batch.executors import HERE, Pool
from seg_batch.inference.loading.named import named_model
from seg_batch.inference.request import Request

MOST_NAMED = 500  # paths that messages of a whole run are searched for
MOST_LED = 32  # large inputs that are coordinated at once, at most
FEWEST_LED = 2  # at least: one is read or written while the other computes


@dataclass(frozen=True)
class BatchJob:
    """One run. ``requests``: one per input, by key, in the order of the workflow; ``refused``: reasons by
    key for what can't be an input. ``deadline``: unix seconds, ``left_out``: lines about what is no input; ``stop_after``: number of quarantined
    inputs, None: no limit; ``retries``: of each input after transient errors. ``overwrite``: begin again
    and replace files at the outputs. ``shares_folder``: other jobs have the same run folder."""

    folder: Path
    fingerprint: str
    workflow: dict[str, Any]
    requests: dict[str, Request]
    refused: dict[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    cluster: Any = "auto"
    workers: int = 1
    deadline: float | None = None
    stop_after: int | None = None
    retries: int = 3
    overwrite: bool = False
    shares_folder: bool = False

    @property
    def teller(self) -> Teller | None:
        """What may be told of the run as a whole, where inputs are not to be known."""
        hidden = [each.pseudonym for each in self.requests.values() if each.pseudonym]
        if not hidden:
            return None
        codes = (code for each in hidden for code in (each.code, each.folder))
        paths = (path for each in hidden for path in each.paths)
        return Teller(tuple(islice(paths, MOST_NAMED)), (*hidden[0].public, *codes))

    def profiled(self) -> BatchJob:
        """The same with a profile of each prediction."""
        requests = {key: replace(each, profile=True) for key, each in self.requests.items()}
        return replace(self, requests=requests)

    def on(self, pool: Pool) -> dict[str, Request]:
        """The requests with workers and memory of this pool. An input is cut for all workers only
        where there are fewer inputs than workers."""
        workers = max(1, -(-pool.workers // max(1, len(self.requests))))
        share, requests = memory_share(pool), {}
        for key, request in self.requests.items():
            memory_bytes = request.options.memory_bytes or share
            options = replace(request.options, workers=workers, memory_bytes=memory_bytes)
            asked = request.options.memory_bytes
            requests[key] = replace(request, options=options, memory_asked=asked)
        return requests


def memory_share(pool: Pool) -> int:
    """The default of ``--memory``, in bytes: the least share that any worker has of its machine."""
    machines = pool.ask(_memory) or {HERE: _memory()}
    neighbours = Counter(host for host, _ in machines.values())
    limits = pool.memory_limits()  # of a batch system's job, below the memory of its machine
    parts = [
        min(size / neighbours[host], limits.get(worker) or size)
        for worker, (host, size) in machines.items()
    ]
    return int(min(parts) * hardware.MEMORY_SHARE)


def _memory() -> tuple[str, int]:
    return socket.gethostname(), hardware.memory_bytes()


def job_of(workflow: Workflow, *, overwrite: bool = False, is_dry: bool = False) -> BatchJob:
    """The job of a workflow of one prediction, with its inputs listed and its deadline fixed now.
    WorkflowError where its inputs can't be listed. ``is_dry``: see ``list_inputs``."""
    with hushed(teller_of(workflow)):
        listing = list_inputs(workflow, is_dry=is_dry)
    return BatchJob(
        folder=Path(workflow.run_folder),
        fingerprint=workflow.sha256,
        workflow=told_settings(workflow),
        requests={spec.key: request_of(workflow, spec, overwrite) for spec in listing.specs},
        refused=listing.refused,
        left_out=listing.left_out,
        cluster=workflow.cluster,
        workers=workflow.workers or max(1, hardware.gpus()),
        deadline=workflow.limits.deadline(datetime.now()),
        stop_after=workflow.on_failure.stop_after,
        retries=workflow.on_failure.retries,
        overwrite=overwrite,
    )


def teller_of(workflow: Workflow) -> Teller | None:
    """What may be told of a run whose inputs are not to be known; None where they may."""
    if workflow.outputs.deidentify is None:
        return None
    inputs = workflow.inputs
    named: tuple[Any, ...] = ()
    if inputs:
        cases = [path for case in inputs.cases for path in case.image]
        named = (
            inputs.paths,
            inputs.dicom,
            inputs.stack,
            inputs.mosaic,
            inputs.manifest,
            inputs.list,
            cases,
        )
    paths = [
        path for each in named if each for path in ((each,) if isinstance(each, str) else each)
    ]
    folder = workflow.outputs.folder
    return Teller(tuple(paths), (os.path.abspath(folder), folder, *(workflow.model or ())))


def told_settings(workflow: Workflow) -> dict[str, Any]:
    """The workflow as JSON for its run folder, without inputs that are not to be known."""
    plain = workflow.to_json()
    for part in (plain, *plain.get("steps", ())):
        if (part.get("outputs") or plain["outputs"]).get("deidentify") and part.get("inputs"):
            part["inputs"] = None
        _without_secrets(part)
    return plain


def _without_secrets(part: dict[str, Any]) -> None:
    """Addresses as they may be told, in a workflow or a step as JSON."""
    if sign := (part.get("options") or {}).get("sign"):
        part["options"]["sign"] = shown(sign)
    if stac := (part.get("inputs") or {}).get("stac"):
        stac["items"] = [*map(shown, stac.get("items", ()))]
        stac["api"] = stac.get("api") and shown(stac["api"])


def require_named(workflow: Workflow) -> None:
    """Check what the workflow names for all inputs, before any of them is read.

    WorkflowError where the model is missing, ClusterError where the file of the cluster is.
    """
    read_spec(workflow.cluster)
    if (model := _model_names(workflow.model)) is None:
        return
    try:
        named_model(model)
    except SegbatchError as error:
        raise WorkflowError(f"{workflow.name}: model: {error.message}") from None


def request_of(workflow: Workflow, spec: InputSpec, overwrite: bool = False) -> Request:
    """The request of one input."""
    options = workflow.plan_options()
    return Request(
        input=spec.files if spec.more or spec.mosaic else spec.path,
        output=spec.output,
        model=_model_names(spec.model or workflow.model),
        options=options if spec.bands is None else replace(options, bands=spec.bands),
        volume=spec.volume,
        series=spec.series,
        series_files=spec.series_files,
        overwrite=overwrite,
        pseudonym=spec.pseudonym,
        also=also_of(workflow.outputs, spec),
        also_where_possible=True,
        mosaic=spec.mosaic,
        item=spec.item,
        upload=_upload(workflow, spec),
        leaves_copy=True,
        tiles_out=workflow.outputs.tiles if spec.mosaic else None,
    )


def _upload(workflow: Workflow, spec: InputSpec) -> str | None:
    """The folder of the bucket that the products of an input go to: as its folder lies in that of all outputs."""
    bucket, outputs = workflow.outputs.bucket, workflow.outputs
    if bucket is None:
        return None
    within = os.path.relpath(os.path.dirname(spec.output or ""), os.path.abspath(outputs.folder))
    return bucket.rstrip("/") + ("" if within == "." else f"/{within}")


def _model_names(names: tuple[str, ...] | None) -> str | list[str] | None:
    return names[0] if names and len(names) == 1 else list(names or ()) or None


@dataclass(frozen=True, slots=True)
class PlannedInput:
    """One surveyed input that is to be done. ``attempt``: the number of this attempt, from 1."""

    key: str
    request: Request
    facts: InputFacts
    attempt: int = 1

    def __str__(self) -> str:
        return self.key

    @property
    def blocks(self) -> int:
        return self.facts["blocks"]

    @property
    def small(self) -> bool:
        return self.blocks == 1

    @property
    def seconds(self) -> float:
        return self.facts["seconds_estimate"]


@dataclass(frozen=True)
class RefusedInput:
    """An input that can't be planned. ``seen``: whether ``worker`` saw its file, and lived."""

    key: str
    error: str
    seen: bool = False
    worker: str = ""


def largest_first(items: Iterable[PlannedInput]) -> list[PlannedInput]:
    """Sorted by estimated time, longest first; equal ones keep their order."""
    return sorted(items, key=lambda item: -item.seconds)


def by_risk(
    items: Iterable[PlannedInput], crash_suspects: Mapping[str, int], alone: bool
) -> list[list[PlannedInput]]:
    """Groups that are done one after another: first all inputs that are no crash suspects, then suspects
    by the number of crashes. ``alone``: each suspect is a group, where it can crash this process."""

    def crashes(item: PlannedInput) -> int:
        return crash_suspects.get(item.key, 0)

    groups: list[list[PlannedInput]] = []
    for n, same in groupby(sorted(items, key=crashes), key=crashes):
        group = list(same)
        groups += [[item] for item in group] if alone and n else [group]
    return groups


def may_coordinate(in_hand: Sequence[int], window: int) -> bool:
    """Whether another large input may begin beside those with ``in_hand`` blocks left each: while
    they can't fill the pool's window, or are too few to overlap."""
    if len(in_hand) < FEWEST_LED:
        return True
    return len(in_hand) < MOST_LED and sum(in_hand) < window
