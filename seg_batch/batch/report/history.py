"""What a journal tells, as one frozen value: the inputs, the spells of work, the interruptions.

The status of an input is what ``journal.state`` says. What it calls running is *unfinished* here,
for a report is read when nothing runs any more. What the journal does not tell is not guessed: work
that was begun and never told of again lasted, at the latest, until its coordinator fell silent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from seg_batch.batch.journal import InputRecord, fold
from seg_batch.batch.journal.events import JournalEvent
from seg_batch.batch.journal.state import RUNNING

# In the order in which a reader wants them.
STATUSES = ("refused", "failed", "partial", "unfinished", "waiting", "complete")
MEANING = {
    "refused": "set aside: trying again would not help",
    "failed": "no product",
    "partial": "a product with holes",
    "unfinished": "begun, and not ended",
    "waiting": "its turn has not come",
    "complete": "done",
}
NOT_TOLD = "(worker not told)"  # of attempts that failed, the journal may not know who made them
MARKERS = ("worker_lost", "worker_dropped", "straggler", "taken_over", "stopping")


@dataclass(frozen=True)
class Interval:
    """One attempt at one input. ``ended``: done, retried, failed, refused, stopped (with its session)
    or lost (no end is told). ``worker``: who did it, or led those who did."""

    input: str
    worker: str
    start: float
    stop: float
    ended: str


@dataclass(frozen=True)
class Session:
    """One coordinator's time: from ``begun`` to ``ended``, or to its last sign of life. ``status``:
    its exit status, where it told of its end."""

    start: float
    stop: float
    host: str = ""
    pid: int = 0
    version: str = ""
    ended: bool = False
    status: int | None = None
    why: str = ""


@dataclass(frozen=True)
class RunHistory:
    """A run. ``spells`` in the order of their start; ``retried``: per input why it was repeated."""

    inputs: tuple[InputRecord, ...]
    spells: tuple[Interval, ...]
    sessions: tuple[Session, ...]
    markers: tuple[JournalEvent, ...]
    retried: dict[str, tuple[str, ...]]

    @property
    def ended(self) -> bool:
        return bool(self.sessions) and self.sessions[-1].ended


def status(told: InputRecord) -> str:
    """One of ``STATUSES``."""
    return "unfinished" if told.status == RUNNING else told.status


def history_of(events: list[JournalEvent]) -> RunHistory:
    """The night that these events tell of, in their order."""
    clock = _Clock()
    for event in events:
        clock.take(event)
    clock.abandon()
    retried: dict[str, tuple[str, ...]] = {}
    for event in events:
        if event["event"] == "retried":
            key = event["input"]
            retried[key] = (*retried.get(key, ()), str(event["error"]))
    return RunHistory(
        inputs=tuple(fold(events).inputs.values()),
        spells=tuple(sorted(clock.spells, key=lambda s: (s.start, s.input))),
        sessions=tuple(clock.sessions),
        markers=tuple(event for event in events if event["event"] in MARKERS),
        retried=retried,
    )


class _Clock:
    """Events in; spells and sessions out."""

    def __init__(self) -> None:
        self.spells: list[Interval] = []
        self.sessions: list[Session] = []
        self._large: set[str] = set()
        self._open: dict[str, tuple[str, float]] = {}
        self._now = 0.0

    def take(self, event: JournalEvent) -> None:
        kind, at = event["event"], float(event["t"])
        if kind == "begun":
            self.abandon()
            host, version = str(event["host"]), str(event["segbatch"])
            self.sessions.append(Session(at, at, host, int(event["pid"]), version))
        elif kind == "surveyed" and (event["facts"].get("blocks") or 1) > 1:
            self._large.add(event["input"])
        elif kind == "started":
            self._close(event["input"], at, "lost", {})
            self._open[event["input"]] = str(event.get("worker") or ""), at
        elif kind == "withdrawn":
            self._open.pop(event["input"], None)
        elif kind in ("done", "failed", "refused", "retried"):
            self._close(event["input"], at, kind, event.get("outcome") or event)
        elif kind == "ended":
            self.abandon(at, "stopped")
        self._now = max(self._now, at)
        self._alive(kind, event)

    def abandon(self, at: float | None = None, ended: str = "lost") -> None:
        """Nothing more is told of what is open."""
        for key in list(self._open):
            self._close(key, self._now if at is None else at, ended, {})

    def _close(self, key: str, at: float, ended: str, told: Mapping[str, Any]) -> None:
        """``told``: what knows the worker, and of what is done also when it really worked."""
        if key in self._open:
            named, start = self._open.pop(key)
            if ended != "done" and key in self._large and self.sessions:
                worker = f"{self.sessions[-1].host}:{self.sessions[-1].pid}"
            else:
                worker = str(told.get("worker") or named or NOT_TOLD)
            start, stop = float(told.get("began") or start), float(told.get("finished") or at)
            self.spells.append(Interval(key, worker, start, max(start, stop), ended))

    def _alive(self, kind: str, event: JournalEvent) -> None:
        if not self.sessions:
            return
        last = self.sessions[-1]
        if kind == "ended":
            status, why = event["status"], str(event["why"] or "")
            self.sessions[-1] = replace(last, stop=self._now, ended=True, status=status, why=why)
        elif not last.ended:
            self.sessions[-1] = replace(last, stop=self._now)
