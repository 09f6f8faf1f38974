"""What a night is told to do: inputs, how, where, within what limits. Decided before anything runs.

Also in which order inputs are done, and how many at once. Largest first: what takes longest must not
begin last. An input of one block is *small*: one task, done whole by one worker. One of several is
*large*: its blocks go to all workers, and a thread of the coordinator leads it. What fits beside what in
a worker's memory is decided there (``worker_requirements.Room``).
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from seg_batch.batch.inputs.listing import listed
from seg_batch.batch.inputs.tables import InputSpec
from seg_batch.batch.journal.events import InputFacts
from seg_batch.config.cluster import read_spec
from seg_batch.config.workflow.schema import Workflow
from seg_batch.core import hardware
from seg_batch.core.errors import SegbatchError, WorkflowError
from seg_batch.executors import HERE, Pool
from seg_batch.inference.plan import MEMORY_SHARE
from seg_batch.inference.request import Request, named_model

MOST_LED = 32  # large inputs that are led at once, at most
FEWEST_LED = 2  # one is read or written while the other computes


@dataclass(frozen=True)
class RunLimits:
    """``deadline``: unix seconds; ``stop_after``: inputs set aside (see ``outcomes``); None: no limit.
    ``retries``: further tries for what may pass."""

    deadline: float | None = None
    stop_after: int | None = None
    retries: int = 3


@dataclass(frozen=True)
class BatchJob:
    """One night. ``requests``: one per input, by its key, in the order of the workflow; ``refused``:
    those that can be no input, with the reason. ``overwrite``: begin anew, and replace
    what stands at the outputs. ``of_many``: other orders share the folder."""

    folder: Path
    fingerprint: str
    workflow: dict[str, Any]
    requests: dict[str, Request]
    refused: dict[str, str] = field(default_factory=dict)
    cluster: Any = "auto"
    workers: int = 1
    limits: RunLimits = field(default_factory=RunLimits)
    overwrite: bool = False
    of_many: bool = False

    def on(self, pool: Pool) -> dict[str, Request]:
        """The requests as they are done on this pool. An input is cut for all workers only where there
        are fewer inputs than workers."""
        each = max(1, -(-pool.workers // max(1, len(self.requests))))
        share = memory_share(pool)

        def settled(request: Request) -> Request:
            asked = request.options
            memory_bytes = asked.memory_bytes or share
            return replace(request, options=replace(asked, workers=each, memory_bytes=memory_bytes))

        return {key: settled(request) for key, request in self.requests.items()}


def memory_share(pool: Pool) -> int:
    """Bytes that a worker may use where nobody said: its part of its machine, of all the least."""
    found = pool.ask(_memory) or {HERE: _memory()}
    neighbours = Counter(host for host, _ in found.values())
    limits = pool.memory_limits()  # of a job, which the size of its machine does not tell
    parts = [
        min(size / neighbours[host], limits.get(worker) or size)
        for worker, (host, size) in found.items()
    ]
    return int(min(parts) * MEMORY_SHARE)


def _memory() -> tuple[str, int]:
    return socket.gethostname(), hardware.memory_bytes()


def job_of(workflow: Workflow, *, overwrite: bool = False) -> BatchJob:
    """What a workflow of one prediction means, now and here. WorkflowError where its inputs can't be
    listed."""
    listing = listed(workflow)
    return BatchJob(
        folder=Path(workflow.run_folder),
        fingerprint=workflow.sha256,
        workflow=workflow.to_json(),
        requests={spec.key: request_of(workflow, spec, overwrite) for spec in listing.specs},
        refused=listing.refused,
        cluster=workflow.cluster,
        workers=workflow.workers or max(1, hardware.gpus()),
        limits=RunLimits(
            deadline=workflow.limits.deadline(datetime.now()),
            stop_after=workflow.on_failure.stop_after,
            retries=workflow.on_failure.retries,
        ),
        overwrite=overwrite,
    )


def require_named(workflow: Workflow) -> None:
    """What the workflow names for all its inputs has to be there, before any of them is looked at.

    WorkflowError where it is not the model, ClusterError where it is not the cluster's file.
    """
    read_spec(workflow.cluster)
    if (model := _as_asked(workflow.model)) is None:
        return
    try:
        named_model(model)
    except SegbatchError as error:
        raise WorkflowError(f"{workflow.name}: model: {error.message}") from None


def request_of(workflow: Workflow, spec: InputSpec, overwrite: bool = False) -> Request:
    """One input as the verb takes it."""
    return Request(
        input=spec.path,
        output=spec.output,
        model=_as_asked(spec.model or workflow.model),
        options=workflow.plan_options(),
        volume=spec.volume,
        overwrite=overwrite,
    )


def _as_asked(names: tuple[str, ...] | None) -> str | list[str] | None:
    return names[0] if names and len(names) == 1 else list(names or ()) or None


@dataclass(frozen=True, slots=True)
class PlannedInput:
    """One input that is to be done, as its survey found it. ``attempt``: which this is, from 1."""

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
    """One that can't be planned. ``seen``: whether whoever looked, and lived, saw the file there."""

    key: str
    error: str
    seen: bool = False
    worker: str = ""


def largest_first(items: Iterable[PlannedInput]) -> list[PlannedInput]:
    """By the time they are expected to take; equals in the order given."""
    return sorted(items, key=lambda item: -item.seconds)


def by_risk(
    items: Iterable[PlannedInput], feared: Mapping[str, int], alone: bool
) -> list[list[PlannedInput]]:
    """What is done before what else begins: all that nobody fears, then the feared ones, those that were
    in hand at fewer deaths first. ``alone``: each of them by itself, where it can end this process."""
    deaths = sorted(items, key=lambda item: feared.get(item.key, 0))
    found = [list(some) for _, some in groupby(deaths, key=lambda item: feared.get(item.key, 0))]
    if not alone:
        return found
    calm = [some for some in found if some[0].key not in feared]
    return calm + [[item] for some in found for item in some if item.key in feared]


def may_coordinate(in_hand: Sequence[int], window: int) -> bool:
    """Whether another large input may begin beside those with ``in_hand`` blocks left each: when
    they can't fill the pool's window, or are too few to overlap."""
    if len(in_hand) < FEWEST_LED:
        return True
    return len(in_hand) < MOST_LED and sum(in_hand) < window
