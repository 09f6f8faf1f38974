"""The journal: what happened in a run, one JSON object per line, appended and never changed.

Each append is one write, so a line is whole or torn, and a torn one can only be the last; what could
not be found out again is seen to the disk (fsync), with all before it. A torn line is never glued to
what comes next: whoever appends after it cancels it with the control character CAN. Each line carries
the number of the tenure (see ``lease``) it was written under; a line of an earlier tenure behind one
of a later is a word of somebody suspended, and not read.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from pathlib import Path
from typing import Any, Required, TypedDict, cast

from seg_batch.batch.journal.lease import Lease
from seg_batch.core.errors import FULL, DamagedError, DiskFullError, OutputError, StoreError
from seg_batch.inference.report import BlockCounts, ClassRow, Failure

CANCEL = b"\x18"

# Kind of event -> what it must tell. More may be told.
OF_INPUTS: dict[str, frozenset[str]] = {
    "surveyed": frozenset({"facts"}),
    "refused": frozenset({"error"}),
    "started": frozenset({"attempt"}),
    "retried": frozenset({"attempt", "error", "wait_s"}),
    "withdrawn": frozenset(),  # handed out, and taken back before anybody began it
    "done": frozenset({"outcome"}),
    "failed": frozenset({"error", "status"}),
    "dropped": frozenset(),  # no input of the workflow any more
}
OF_RUNS: dict[str, frozenset[str]] = {
    "begun": frozenset({"workflow_sha256", "host", "pid", "segbatch"}),
    "worker_lost": frozenset({"worker", "why"}),
    "worker_dropped": frozenset({"worker", "why"}),
    "straggler": frozenset({"worker", "why"}),
    "stopping": frozenset({"why"}),
    "ended": frozenset({"status", "why"}),
    "taken_over": frozenset({"from_host", "from_pid"}),
}
KINDS = OF_INPUTS | OF_RUNS
# May be lost with the machine (never with the process): whoever goes on finds it out again.
LIGHT = frozenset({"surveyed", "started", "straggler"})
OURS_S = 0.2  # for so long the lock is taken to be still ours
TENURE = re.compile(rb'[{,]"tenure":(\d+)')  # a quote within a text has a backslash before it


class InputFacts(TypedDict, total=False):
    """An input as its survey found it; an earlier version may have told less. ``of``: a digest of what a
    product would be made of."""

    kind: str
    extent: list[int]
    blocks: int
    tiles: int
    voxels: int
    promised_bytes: int
    memory_bytes: int
    disk_bytes: int
    seconds_estimate: float
    output: str
    of: str
    model: str
    engine: str
    precision: str
    warnings: list[str]


class ProductStamp(TypedDict):
    """What tells whether a file that was made is still the same."""

    sha256: str
    bytes: int
    mtime_ns: int


class StepResult(TypedDict):
    """What a step of a workflow left; ``why``: it is partial."""

    status: str
    why: str
    output: str
    product: ProductStamp
    seconds: float


class InputResult(TypedDict, total=False):
    """What became of an input that has a product, of its report what a morning needs; an earlier version
    may have told less. ``worker``: the process that did it, or that led ``workers``, each with its
    blocks; ``why``: see ``StepResult``."""

    status: str
    output: str
    report: str
    product: ProductStamp
    probabilities: ProductStamp | None
    of: str
    seconds: float
    stages_s: dict[str, float]
    tiles: int
    tiles_skipped: int
    blocks: BlockCounts
    promised_bytes: int
    peak_rss_bytes: int
    worker: str
    classes: list[ClassRow]
    seam_index: float | None
    warnings: list[str]
    failures: list[Failure]
    began: float
    finished: float
    workers: dict[str, int]
    why: str


class JournalEvent(TypedDict, total=False):
    """A line of the journal: what ``KINDS`` says of its kind, and maybe more. ``outcome``: of a step a
    ``StepResult``."""

    t: Required[float]
    event: Required[str]
    input: Required[str]  # None in those of runs
    tenure: int
    facts: InputFacts
    outcome: InputResult
    attempt: int
    attempts: int
    error: str
    status: int
    wait_s: float
    worker: str | None
    why: str
    host: str
    pid: int
    segbatch: str
    workflow_sha256: str
    from_host: str
    from_pid: int
    sources: dict[str, str]
    before: list[int]


class Journal:
    """The journal open for appending, by one owner, from any of its threads.

    With a ``tenure``, an append first makes sure that the lock is still held, if the last look is
    older than a moment, and raises its StoreError when it is not. A suspended owner looks again.
    """

    def __init__(self, path: Path, tenure: Lease | None = None) -> None:
        self.path = path
        self._tenure = tenure
        self._guard = threading.Lock()
        self._ours_until = 0.0
        self._torn = not _ends_whole(path)
        self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def append(self, kind: str, input: str | None = None, **fields: Any) -> JournalEvent:
        """Write one event, and see it to the disk unless it is light; returns it as it will be read.

        ValueError for a kind that is unknown or does not tell what it must; DiskFullError or another
        OutputError when the disk refuses; StoreError after ``close``.
        """
        _require_kind(kind, input, fields)
        tenure = {} if self._tenure is None else {"tenure": self._tenure.number}
        told = {"t": round(time.time(), 3), "event": kind, "input": input, **tenure, **fields}
        event = cast(JournalEvent, told)
        line = json.dumps(event, allow_nan=False, separators=(",", ":")).encode() + b"\n"
        with self._guard:
            if self._handle < 0:
                raise StoreError(f"{self.path} is closed, so {kind!r} can't be told any more")
            self._require_ours()
            try:
                self._write(line)
                if kind not in LIGHT:
                    os.fsync(self._handle)
            except OSError as error:
                raise _refused(self.path, error) from error
        return event

    def _require_ours(self) -> None:
        now = time.monotonic()
        if self._tenure is not None and now >= self._ours_until:
            self._tenure.check()
            self._ours_until = now + OURS_S

    def _write(self, line: bytes) -> None:
        if self._torn:
            line = CANCEL + b"\n" + line
        self._torn = True  # until it is known to be whole
        written = os.write(self._handle, line)
        while written < len(line):  # a full disk takes a part, and says why when asked again
            written += os.write(self._handle, line[written:])
        self._torn = False

    def close(self) -> None:
        """Nothing is written any more; least of all into a file that gets the number of this one."""
        with self._guard:
            handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    @staticmethod
    def read(path: Path) -> list[JournalEvent]:
        """All events so far, in order; empty when there is no journal.

        May be called while another process appends. DamagedError when a line in the middle does
        not read, or is of a kind that this version does not know.
        """
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return []
        return _in_force(_parsed(path, data.split(b"\n")[:-1]))


def highest_token(path: Path) -> int:
    """The highest number of a tenure that wrote to the journal at ``path``; 0 where there is none."""
    try:
        return max(map(int, TENURE.findall(path.read_bytes())), default=0)
    except FileNotFoundError:
        return 0


def _refused(path: Path, error: OSError) -> OutputError:
    kind = DiskFullError if error.errno in FULL else OutputError
    return kind(
        f"can't write {path} ({error.strerror}), so what is done could not be told later: make room "
        "or check the disk, then run the same command again to resume"
    )


def _require_kind(kind: str, input: str | None, fields: dict[str, Any]) -> None:
    if kind not in KINDS:
        raise ValueError(f"no event is called {kind!r}: use one of {', '.join(sorted(KINDS))}")
    if missing := KINDS[kind] - fields.keys():
        raise ValueError(f"event {kind!r} does not tell {', '.join(sorted(missing))}")
    if (input is None) == (kind in OF_INPUTS):
        raise ValueError(f"event {kind!r} {'needs an' if input is None else 'has no'} input")


def _parsed(path: Path, lines: list[bytes]) -> list[JournalEvent]:
    events = []
    for i, line in enumerate(lines):
        event = _event(line)
        if event is not None:
            if event["event"] not in KINDS:
                raise DamagedError(
                    f"{path}:{i + 1}: event {event['event']!r} is unknown to this version, so the "
                    "run would be told wrong: use the segbatch that wrote it"
                )
            events.append(event)
        elif not _is_cancelled(lines, i):
            raise DamagedError(
                f"{path}:{i + 1} does not read, so what was done can't be told: check the disk, "
                "and move the file away to begin the run anew (whole products are kept)"
            )
    return events


def _event(line: bytes) -> JournalEvent | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    ours = isinstance(event, dict) and isinstance(event.get("event"), str)
    return cast(JournalEvent, event) if ours else None


def _is_cancelled(lines: list[bytes], i: int) -> bool:
    """A torn line: the last one, or marked by whoever appended next."""
    return i == len(lines) - 1 or lines[i].endswith(CANCEL) or lines[i + 1] == CANCEL


def _in_force(events: list[JournalEvent]) -> list[JournalEvent]:
    newest, kept = 0, []
    for event in events:
        tenure = event.get("tenure", 0)
        newest = max(newest, tenure)
        if tenure == newest:
            kept.append(event)
    return kept


def _ends_whole(path: Path) -> bool:
    """Whether the file ends with a line that reads, or is empty."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return True
    *lines, rest = data.split(b"\n")
    return not rest and (not lines or lines[-1] == CANCEL or _event(lines[-1]) is not None)
