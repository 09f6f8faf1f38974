"""The history of a run, read from its journal: inputs, intervals of work, sessions, interruptions.

The status of an input is that of ``journal.state``, but ``running`` is called ``unfinished``: a
report is read when nothing runs any more. Nothing is guessed: an attempt without an end in the
journal lasts until the last event of its coordinator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from seg_batch.batch.journal import InputRecord, fold
from seg_batch.batch.journal.events import JournalEvent
from seg_batch.batch.journal.state import RUNNING
from seg_batch.batch.report.rows import SessionRow

MEANING = {
    "refused": "set aside: trying again would not help",
    "failed": "no product",
    "partial": "a product with holes",
    "unfinished": "begun, and not ended",
    "waiting": "its turn has not come",
    "complete": "done",
}
STATUSES = tuple(MEANING)  # in the order of the report: the most urgent first
NOT_TOLD = "(worker not told)"  # the journal may not name the worker of an attempt that failed
MARKERS = ("worker_lost", "worker_dropped", "straggler", "taken_over", "stopping")


@dataclass(frozen=True)
class Interval:
    """One attempt at one input, in unix seconds. ``ended``: done, retried, failed, refused, stopped (with
    its session) or lost (the journal has no end). ``worker``: the process that did or coordinated it."""

    input: str
    worker: str
    start: float
    stop: float
    ended: str


@dataclass(frozen=True)
class RunHistory:
    """A run. ``intervals`` in the order of their start; ``retried``: reasons of retries by input."""

    inputs: tuple[InputRecord, ...]
    intervals: tuple[Interval, ...]
    sessions: tuple[SessionRow, ...]
    markers: tuple[JournalEvent, ...]
    retried: dict[str, list[str]]


def report_status(record: InputRecord) -> str:
    """One of ``STATUSES``."""
    return "unfinished" if record.status == RUNNING else record.status


def history_of(events: list[JournalEvent]) -> RunHistory:
    """The run that these events describe, in their order."""
    clock = _Clock()
    for event in events:
        clock.take(event)
    clock.close_all()
    return RunHistory(
        inputs=tuple(fold(events).inputs.values()),
        intervals=tuple(sorted(clock.intervals, key=lambda s: (s.start, s.input))),
        sessions=tuple(clock.sessions),
        markers=tuple(event for event in events if event["event"] in MARKERS),
        retried=clock.retried,
    )


class _Clock:
    """Turns events into intervals and sessions."""

    def __init__(self) -> None:
        self.intervals: list[Interval] = []
        self.sessions: list[SessionRow] = []
        self.retried: dict[str, list[str]] = {}
        self._coordinator = ""
        self._large: set[str] = set()
        self._open: dict[str, tuple[str, float]] = {}
        self._now = 0.0

    def take(self, event: JournalEvent) -> None:
        kind, at = event["event"], float(event["t"])
        if kind == "begun":
            self.close_all()
            self._begin_session(event, at)
        elif kind == "surveyed" and (event["facts"].get("blocks") or 1) > 1:
            self._large.add(event["input"])
        elif kind == "started":
            self._close(event["input"], at, "lost", {})
            self._open[event["input"]] = str(event.get("worker") or ""), at
        elif kind == "withdrawn":
            self._open.pop(event["input"], None)
        elif kind in ("done", "failed", "refused", "retried"):
            if kind == "retried":
                self.retried.setdefault(event["input"], []).append(str(event["error"]))
            self._close(event["input"], at, kind, event.get("outcome") or event)
        elif kind == "ended":
            self.close_all(at, "stopped")
        self._now = max(self._now, at)
        self._extend_session(kind, event)

    def close_all(self, at: float | None = None, ended: str = "lost") -> None:
        """Close the open intervals: the journal has no other end for them."""
        for key in list(self._open):
            self._close(key, self._now if at is None else at, ended, {})

    def _close(self, key: str, at: float, ended: str, source: Mapping[str, Any]) -> None:
        """``source``: names the worker, and for a done input the times between which it worked."""
        if key in self._open:
            named, start = self._open.pop(key)
            if ended != "done" and key in self._large and self.sessions:
                worker = self._coordinator
            else:
                worker = str(source.get("worker") or named or NOT_TOLD)
            start, stop = float(source.get("began") or start), float(source.get("finished") or at)
            self.intervals.append(Interval(key, worker, start, max(start, stop), ended))

    def _begin_session(self, event: JournalEvent, at: float) -> None:
        host = str(event["host"])
        self._coordinator = f"{host}:{event['pid']}"
        self.sessions.append(
            {
                "begun": at,
                "last": at,
                "ended": False,
                "status": None,
                "why": "",
                "host": host,
                "segbatch": str(event["segbatch"]),
            }
        )

    def _extend_session(self, kind: str, event: JournalEvent) -> None:
        if not self.sessions:
            return
        last = self.sessions[-1]
        if kind == "ended":
            last["ended"], last["status"], last["why"] = True, event["status"], event["why"] or ""
            last["last"] = self._now
        elif not last["ended"]:
            last["last"] = self._now
