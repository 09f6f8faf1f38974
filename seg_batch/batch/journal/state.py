"""What the events of a run add up to: the status of every input, the workers, and the totals.

A ``State`` takes one event at a time, so that whoever follows a run pays for what is new only.
The values that it hands out are frozen.
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
    """What is kept of one input. ``status``: one of ``STATUSES``; refused ones are set aside. ``facts``: of its
    survey; ``outcome``: of its last product; ``error``: why it was refused, failed or is tried
    again; ``since``: when the status became so, unix seconds; ``again_at``: when it is retried."""

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
        """Of the plan; 1 where it was not surveyed yet."""
        return int(self.facts.get("blocks") or 1)

    @property
    def voxels(self) -> int:
        return int(self.facts.get("voxels") or 0)


@dataclass(frozen=True)
class WorkerState:
    """One worker as the journal knows it. ``ended``: inputs that it did alone; ``blocks``: of those
    that several share; ``lost``: why it is gone; None while it is not."""

    name: str
    ended: int = 0
    blocks: int = 0
    seen: float = 0.0
    lost: str | None = None


@dataclass(frozen=True)
class Totals:
    """All inputs: how many have each status, and how much of the work is in complete ones.
    ``session_*``: since the present coordinator began; ``session_first``: when it began an input."""

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
        """Inputs that are not ended: waiting or running."""
        return self.by_status.get(WAITING, 0) + self.by_status.get(RUNNING, 0)


class State:
    """The fold of a journal. ``inputs`` and ``workers`` are in the order in which they came up."""

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
        """Take in the next event."""
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
            **{name: self._counts[name] for name in _COUNTED},
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
        """A new coordinator: what the earlier one had in hand waits again, its workers are gone."""
        self.begun, self.stopping, self.ended = event, None, None
        self.workers.clear()
        self._session_began, self._session_first = event["t"], None
        self._counts["sessions"] += 1
        self._counts["session_ended"] = self._counts["session_voxels"] = 0
        for key in [key for key, one in self.inputs.items() if one.status == RUNNING]:
            self._set(key, event, status=WAITING, worker=None)

    def _of_input(self, kind: str, key: str, event: JournalEvent) -> None:
        before = self.inputs.get(key) or InputRecord(key)
        changes = _CHANGES[kind](before, event)
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

    def _worked(self, one: InputRecord, event: JournalEvent) -> None:
        """Whoever did it: of an input of several blocks not the coordinator, which led the workers."""
        shared = event["outcome"].get("workers") if "outcome" in event else None
        for name, blocks in (shared or {}).items():
            self._worker(name, event["t"], blocks=blocks)
        if shared is None and (event["event"] == "done" or one.blocks == 1):
            self._worker(one.worker, event["t"], ended=1)

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

    def _count(self, one: InputRecord, sign: int) -> None:
        self._by_status[one.status] += sign
        if one.status in (REFUSED, FAILED):
            return  # no work that could be done
        self._counts["blocks"] += sign * one.blocks
        self._counts["voxels"] += sign * one.voxels
        if one.status in (COMPLETE, PARTIAL):
            self._counts["blocks_done"] += sign * _done_blocks(one)
            self._counts["voxels_done"] += sign * one.voxels

    def _worker(self, name: str | None, seen: float, lost: str | None = None, **more: int) -> None:
        """``more``: how many more of what it has done."""
        if name:
            one = self.workers.get(name) or WorkerState(name)
            counts = {key: getattr(one, key) + n for key, n in more.items()}
            self.workers[name] = replace(one, seen=seen, lost=lost, **counts)


_COUNTED = (
    *("blocks", "blocks_done", "voxels", "voxels_done", "retries", "stragglers", "takeovers"),
    *("sessions", "session_ended", "session_voxels"),
)


def _done_blocks(one: InputRecord) -> int:
    blocks = one.outcome.get("blocks")
    return int(blocks.get("done", one.blocks)) if blocks else one.blocks


def _new_voxels(one: InputRecord) -> int:
    """Of a done input: those that were not found done when it was begun."""
    blocks = one.outcome.get("blocks")
    old = min(1.0, blocks.get("resumed", 0) / (blocks.get("total") or 1)) if blocks else 0.0
    return round(one.voxels * (1 - old))


def _surveyed(before: InputRecord, event: JournalEvent) -> dict[str, Any]:
    """Whoever surveys an input means to do it: it is new, or has to be done anew."""
    return {"facts": event["facts"], "status": WAITING, "error": None, "attempts": 0}


def _started(before: InputRecord, event: JournalEvent) -> dict[str, Any]:
    return {
        "status": RUNNING,
        "attempts": event["attempt"],
        "worker": event.get("worker"),
        "again_at": None,
    }


def _retried(before: InputRecord, event: JournalEvent) -> dict[str, Any]:
    again_at = event["t"] + event["wait_s"]
    return {"status": WAITING, "error": event["error"], "again_at": again_at}


def _withdrawn(before: InputRecord, event: JournalEvent) -> dict[str, Any]:
    return {"status": WAITING, "worker": None, "attempts": max(0, before.attempts - 1)}


def _done(before: InputRecord, event: JournalEvent) -> dict[str, Any]:
    outcome = event["outcome"]
    failures = outcome.get("failures")
    return {
        "status": COMPLETE if outcome["status"] == COMPLETE else PARTIAL,
        "outcome": outcome,
        "worker": outcome.get("worker"),
        "error": failures[0]["error"] if failures and outcome["status"] != COMPLETE else None,
        "error_status": None,
    }


def _failed(before: InputRecord, event: JournalEvent) -> dict[str, Any]:
    return {
        "status": FAILED,
        "error": event["error"],
        "error_status": event["status"],
        "worker": event.get("worker"),
        "attempts": event.get("attempts", before.attempts),
    }


def _refused(before: InputRecord, event: JournalEvent) -> dict[str, Any]:
    return {"status": REFUSED, "error": event["error"], "error_status": 2}


_CHANGES = {
    "surveyed": _surveyed,
    "started": _started,
    "retried": _retried,
    "withdrawn": _withdrawn,
    "done": _done,
    "failed": _failed,
    "refused": _refused,
}


def fold(events: Iterable[JournalEvent], state: State | None = None) -> State:
    """All events, taken into ``state`` or a new one, which is returned."""
    state = state or State()
    for event in events:
        state.add(event)
    return state
