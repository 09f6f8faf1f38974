"""The state of a run as a fold of its journal: the status of every input, the workers, the totals.

A ``State`` takes one event at a time, so that following a run costs only the new events. The values
that it returns are frozen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from seg_batch.batch.journal.events import InputFacts, InputResult, JournalEvent

WAITING, RUNNING, REFUSED, FAILED = "waiting", "running", "refused", "failed"
COMPLETE, PARTIAL = "complete", "partial"
STATUSES = (COMPLETE, PARTIAL, RUNNING, WAITING, REFUSED, FAILED)
ENDED = frozenset({COMPLETE, PARTIAL, REFUSED, FAILED})


@dataclass(frozen=True)
class InputRecord:
    """The record of one input. ``status``: one of ``STATUSES``; ``facts``: of its survey;
    ``outcome``: of its last product; ``error``: why it was refused, failed or is retried;
    ``since``: the start of its status, ``again_at``: the time of its retry, both in unix
    seconds."""

    key: str
    status: str = WAITING
    attempts: int = 0
    since: float = 0.0
    again_at: float | None = None
    worker: str | None = None
    error: str | None = None
    error_status: int | None = None
    facts: InputFacts = field(default_factory=InputFacts)
    outcome: InputResult = field(default_factory=InputResult)

    @property
    def blocks(self) -> int:
        """Blocks of its plan; 1 where it was not surveyed yet."""
        return int(self.facts.get("blocks") or 1)

    @property
    def voxels(self) -> int:
        return int(self.facts.get("voxels") or 0)


@dataclass(frozen=True)
class WorkerState:
    """One worker in the journal. ``ended``: inputs that it did alone; ``blocks``: blocks of inputs that
    several workers share; ``seen``: unix seconds of its last event; ``lost``: why it is gone, or None."""

    name: str
    ended: int = 0
    blocks: int = 0
    seen: float = 0.0
    lost: str | None = None


@dataclass(frozen=True)
class Totals:
    """Counts over all inputs. ``session_*``: since the present coordinator began at
    ``session_began``; ``session_first``: when it began its first input; both in unix seconds."""

    inputs: int = 0
    by_status: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    blocks: int = 0
    blocks_done: int = 0
    voxels: int = 0
    voxels_done: int = 0
    retries: int = 0
    stragglers: int = 0
    takeovers: int = 0
    sessions: int = 0
    session_began: float | None = None
    session_first: float | None = None
    session_ended: int = 0
    session_voxels: int = 0

    @property
    def open(self) -> int:
        """The number of inputs that wait or run."""
        return self.by_status.get(WAITING, 0) + self.by_status.get(RUNNING, 0)


class State:
    """The fold of a journal. ``inputs`` and ``workers`` are in the order of their first event."""

    def __init__(self) -> None:
        self.inputs: dict[str, InputRecord] = {}
        self.workers: dict[str, WorkerState] = {}
        self.begun: JournalEvent | None = None
        self.stopping: JournalEvent | None = None
        self.ended: JournalEvent | None = None
        self._counts: Counter[str] = Counter()
        self._by_status: Counter[str] = Counter()
        self._session_began: float | None = None
        self._session_first: float | None = None

    def add(self, event: JournalEvent) -> None:
        """Add the next event."""
        kind, key = event["event"], event.get("input")
        if key is None:
            self._of_run(kind, event)
        elif kind == "dropped":
            self._drop(key)
        else:
            self._of_input(kind, key, event)

    def totals(self) -> Totals:
        return Totals(
            inputs=len(self.inputs),
            by_status=MappingProxyType({name: self._by_status[name] for name in STATUSES}),
            session_began=self._session_began,
            session_first=self._session_first,
            **self._counts,
        )

    def _of_run(self, kind: str, event: JournalEvent) -> None:
        if kind == "begun":
            self._begin(event)
        elif kind == "taken_over":
            self._counts["takeovers"] += 1
        elif kind == "straggler":
            self._counts["stragglers"] += 1
        elif kind in ("worker_lost", "worker_dropped"):
            self._worker(event["worker"], event["t"], lost=event["why"])
        elif kind == "stopping":
            self.stopping = event
        elif kind == "ended":
            self.ended = event

    def _begin(self, event: JournalEvent) -> None:
        """A new coordinator: inputs that the former one had running wait again."""
        self.begun, self.stopping, self.ended = event, None, None
        self.workers.clear()
        self._session_began, self._session_first = event["t"], None
        self._counts["sessions"] += 1
        self._counts["session_ended"] = self._counts["session_voxels"] = 0
        for key in [key for key, record in self.inputs.items() if record.status == RUNNING]:
            self._set(key, event, status=WAITING, worker=None)

    def _of_input(self, kind: str, key: str, event: JournalEvent) -> None:
        before = self.inputs.get(key) or InputRecord(key)
        changes = _changes(before, event)
        if kind == "retried":
            self._counts["retries"] += 1
        self._set(key, event, **changes)
        if kind in ("done", "failed"):
            self._counts["session_ended"] += 1
            self._counts["session_voxels"] += _new_voxels(self.inputs[key]) if kind == "done" else 0
            self._worked(self.inputs[key], event)
        elif kind == "started":
            if self._session_first is None:
                self._session_first = event["t"]
            self._worker(event.get("worker"), event["t"])

    def _drop(self, key: str) -> None:
        if (before := self.inputs.pop(key, None)) is not None:
            self._count(before, -1)

    def _worked(self, record: InputRecord, event: JournalEvent) -> None:
        """Credit the workers: for an input of several blocks not the coordinator."""
        shared = event["outcome"].get("workers") if "outcome" in event else None
        for name, blocks in (shared or {}).items():
            self._worker(name, event["t"], blocks=blocks)
        if shared is None and (event["event"] == "done" or record.blocks == 1):
            self._worker(record.worker, event["t"], ended=1)

    def _set(self, key: str, event: JournalEvent, **changes: Any) -> None:
        before = self.inputs.get(key)
        after = before or InputRecord(key, since=event["t"])
        if changes.get("status", after.status) != after.status:
            changes["since"] = event["t"]
        after = replace(after, **changes)
        self.inputs[key] = after
        if before is not None:
            self._count(before, -1)
        self._count(after, 1)

    def _count(self, record: InputRecord, sign: int) -> None:
        self._by_status[record.status] += sign
        if record.status in (REFUSED, FAILED):
            return  # no work that is left to do
        self._counts["blocks"] += sign * record.blocks
        self._counts["voxels"] += sign * record.voxels
        if record.status in (COMPLETE, PARTIAL):
            self._counts["blocks_done"] += sign * _done_blocks(record)
            self._counts["voxels_done"] += sign * record.voxels

    def _worker(self, name: str | None, seen: float, lost: str | None = None, **done: int) -> None:
        """``done``: what to add to its counts."""
        if name:
            worker = self.workers.get(name) or WorkerState(name)
            counts = {key: getattr(worker, key) + n for key, n in done.items()}
            self.workers[name] = replace(worker, seen=seen, lost=lost, **counts)


def _done_blocks(record: InputRecord) -> int:
    blocks = record.outcome.get("blocks")
    return int(blocks.get("done", record.blocks)) if blocks else record.blocks


def _new_voxels(record: InputRecord) -> int:
    """Voxels of a done input, without those in blocks that were on disk when it was begun."""
    blocks = record.outcome.get("blocks")
    old = min(1.0, blocks.get("resumed", 0) / (blocks.get("total") or 1)) if blocks else 0.0
    return round(record.voxels * (1 - old))


def _changes(before: InputRecord, event: JournalEvent) -> dict[str, Any]:
    """The fields of a record that an event changes."""
    match event["event"]:
        case "surveyed":  # in order to do it: the input is new, or is done again
            return {"status": WAITING, "facts": event["facts"], "error": None, "attempts": 0}
        case "started":
            where = {"worker": event.get("worker"), "attempts": event["attempt"]}
            return {"status": RUNNING, **where, "again_at": None}
        case "retried":
            again_at = event["t"] + event["wait_s"]
            return {"status": WAITING, "error": event["error"], "again_at": again_at}
        case "withdrawn":
            return {"status": WAITING, "worker": None, "attempts": max(0, before.attempts - 1)}
        case "done":
            return _done(event["outcome"])
        case "refused":
            return {"status": REFUSED, "error": event["error"], "error_status": 2}
        case _:  # "failed": ``Journal.read`` has refused all others
            return {
                "status": FAILED,
                "error": event["error"],
                "error_status": event["status"],
                "worker": event.get("worker"),
                "attempts": event.get("attempts", before.attempts),
            }


def _done(outcome: InputResult) -> dict[str, Any]:
    complete, failures = outcome["status"] == COMPLETE, outcome.get("failures")
    return {
        "status": COMPLETE if complete else PARTIAL,
        "outcome": outcome,
        "worker": outcome.get("worker"),
        "error": failures[0]["error"] if failures and not complete else None,
        "error_status": None,
    }


def fold(events: Iterable[JournalEvent], state: State | None = None) -> State:
    """Add all events to ``state`` or a new one; returns it."""
    state = state or State()
    for event in events:
        state.add(event)
    return state
