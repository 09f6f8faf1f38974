"""The journal of a run: a write-ahead log of events, one JSON object per line, never changed.

Each append is one write, so only the last line can be torn. The next append cancels a torn line
with the control character CAN. An append is flushed (fsync) with all before it, unless a resumed
run can find the event out again. Each line carries the fencing token of its writer (key ``tenure``,
see ``lease``); a line with a lower token than one before it was written by a suspended former
owner, and is not read.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from pathlib import Path
from typing import Any, NotRequired, Required, TypedDict, cast

from seg_batch.batch.journal.lease import Lease
from seg_batch.core.errors import FULL, DamagedError, DiskFullError, OutputError, StoreError
from seg_batch.inference.report import BlockCounts, ClassRow, Failure

CANCEL = b"\x18"

# Kind of event -> required fields; others are allowed.
OF_INPUTS: dict[str, frozenset[str]] = {
    "surveyed": frozenset({"facts"}),
    "refused": frozenset({"error"}),
    "started": frozenset({"attempt"}),
    "retried": frozenset({"attempt", "error", "wait_s"}),
    "withdrawn": frozenset(),  # handed out, and taken back before a worker began it
    "done": frozenset({"outcome"}),
    "failed": frozenset({"error", "status"}),
    "dropped": frozenset(),  # no longer an input of the workflow
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
# Not flushed: a power cut may lose them, a kill can't; a resumed run finds them out again.
LIGHT = frozenset({"surveyed", "started", "straggler"})
CHECK_EVERY_S = 0.2  # between checks that the lease is still held
TOKEN = re.compile(rb'[{,]"tenure":(\d+)')  # a quote within a text has a backslash before it


class ImageFacts(TypedDict, total=False):
    """A volume, as people know it. ``spacing_mm``: along ``x, y, z``, of a DICOM series columns, rows, slices; ``tilt_deg``:
    of the slices against their stack, where they are tilted; the others are a DICOM series' own words and numbers."""

    slices: int
    spacing_mm: list[float]
    tilt_deg: float
    modality: str
    description: str
    number: int


class InputFacts(TypedDict, total=False):
    """An input as surveyed; an earlier version may have written fewer fields. ``of``: a digest of
    what a product would be made of; ``fit``: what the look at a sample said, ``Verdict.to_json``; ``footprint``:
    longitudes and latitudes of a raster's outline; ``stac``: the item that the files are assets of; ``also``: the paths of further products; ``time``: whether the seconds are ``measured`` or a ``guess``, and
    their range."""

    kind: str
    extent: list[int]
    blocks: int
    tiles: int
    voxels: int
    promised_bytes: int
    memory_bytes: int
    disk_bytes: int
    seconds_estimate: float
    time: dict[str, Any]
    output: str
    also: list[str]
    of: str
    model: str
    engine: str
    precision: str
    warnings: list[str]
    fit: dict[str, Any]
    footprint: list[tuple[float, float]] | None
    image: ImageFacts
    stac: dict[str, Any]


class ProductStamp(TypedDict):
    """Identifies the content of a file that was written. ``side_files``: those that are part of it."""

    sha256: str
    bytes: int
    mtime_ns: int
    side_files: NotRequired[dict[str, Any]]


class StepResult(TypedDict):
    """The result of a step of a workflow; ``why``: the reason where it is partial."""

    status: str
    why: str
    output: str
    product: ProductStamp
    seconds: float


class InputResult(TypedDict, total=False):
    """The result of an input with a product: the part of its report that the report of the run
    needs; ``also``: further products by path; ``remote``: what is in a bucket, by address; ``review``: reasons to look at its map. An earlier version may have written fewer fields. ``worker``: the process that did it, or
    that coordinated ``workers``, each with its number of blocks; ``why``: see ``StepResult``."""

    status: str
    output: str
    report: str
    product: ProductStamp
    probabilities: ProductStamp | None
    also: dict[str, ProductStamp]
    remote: dict[str, Any]
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
    background: int | None
    seam_index: float | None
    warnings: list[str]
    review: list[str]
    failures: list[Failure]
    began: float
    finished: float
    workers: dict[str, int]
    why: str


class JournalEvent(TypedDict, total=False):
    """A line of the journal, with the fields in ``KINDS`` and others. ``tenure``: the fencing token
    of its writer; ``outcome``: a ``StepResult`` where ``input`` is a step."""

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

    With a ``lease``, an append checks that it is still held where the last check is older than
    ``CHECK_EVERY_S``, as it is in an owner that was suspended; it raises StoreError where it is not.
    """

    def __init__(self, path: Path, lease: Lease | None = None) -> None:
        self.path = path
        self._lease = lease
        self._guard = threading.Lock()
        self._check_at = 0.0
        self._torn = not _ends_whole(path)
        self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def append(self, kind: str, input: str | None = None, **fields: Any) -> JournalEvent:
        """Write one event, flushed unless it is in ``LIGHT``; returns it as it will be read.

        ValueError for an unknown kind or a missing field; DiskFullError or another OutputError when
        the disk refuses; StoreError after ``close``, and where the lease was lost.
        """
        _require_kind(kind, input, fields)
        token = {} if self._lease is None else {"tenure": self._lease.number}
        line_fields = {"t": round(time.time(), 3), "event": kind, "input": input, **token, **fields}
        event = cast(JournalEvent, line_fields)
        line = json.dumps(event, allow_nan=False, separators=(",", ":")).encode() + b"\n"
        with self._guard:
            if self._handle < 0:
                raise StoreError(f"{self.path} is closed, so {kind!r} can't be told any more")
            self._require_lease()
            try:
                self._write(line)
                if kind not in LIGHT:
                    os.fsync(self._handle)
            except OSError as error:
                raise _refused(self.path, error) from error
        return event

    def _require_lease(self) -> None:
        now = time.monotonic()
        if self._lease is not None and now >= self._check_at:
            self._lease.check()
            self._check_at = now + CHECK_EVERY_S

    def _write(self, line: bytes) -> None:
        if self._torn:
            line = CANCEL + b"\n" + line
        self._torn = True  # until the whole line is written
        written = os.write(self._handle, line)
        while written < len(line):  # a full disk takes a part; the next write raises the reason
            written += os.write(self._handle, line[written:])
        self._torn = False

    def close(self) -> None:
        """Close the file. The descriptor is forgotten first: another file may get it."""
        with self._guard:
            handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    @staticmethod
    def read(path: Path) -> list[JournalEvent]:
        """All events so far, in order; empty when there is no journal.

        May be called while another process appends. DamagedError when a line before the last one is
        unreadable, or of a kind that this version does not know.
        """
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return []
        return _without_fenced(_parsed(path, data.split(b"\n")[:-1]))


def highest_token(path: Path) -> int:
    """The highest fencing token in the journal at ``path``; 0 where there is none."""
    try:
        return max(map(int, TOKEN.findall(path.read_bytes())), default=0)
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
    """Whether a line is torn: the last one, or cancelled by the next append."""
    return i == len(lines) - 1 or lines[i].endswith(CANCEL) or lines[i + 1] == CANCEL


def _without_fenced(events: list[JournalEvent]) -> list[JournalEvent]:
    """Without events of an owner that had lost its lease when it wrote them."""
    newest, kept = 0, []
    for event in events:
        token = event.get("tenure", 0)
        newest = max(newest, token)
        if token == newest:
            kept.append(event)
    return kept


def _ends_whole(path: Path) -> bool:
    """Whether the file is empty, or its last line is readable."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return True
    *lines, rest = data.split(b"\n")
    return not rest and (not lines or lines[-1] == CANCEL or _event(lines[-1]) is not None)
