"""The log of a run for people: ``log.jsonl``, one JSON object per line.

    {"t": unix seconds, "level": "info" | "warning" | "error", "source": "host:pid" or a worker,
     "event": one word, "text": one line, ...}

A failure also has ``input``, ``block``, ``worker``, ``cause`` and ``remedy``, as far as they are
known. The run needs its journal (``journal.events``) in order to resume, but not its log: a full
disk that refuses lines of the log does not stop the run.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import FULL, DiskFullError, OutputError, SegbatchError
from seg_batch.core.hardware import here
from seg_batch.core.privacy.silence import SAID
from seg_batch.core.text import Once

_TEXT = 4000  # characters of one value: a longer traceback is cut, so as not to fill the disk
_PASSING = "it is tried again on its own; if it stays,"
# Pattern in the cause -> remedy. The first match counts.
_REMEDIES = (
    (
        r"No space left|disk is full|Disk quota|quota",
        "free some space there, then run the same command again",
    ),
    (
        r"KilledWorker|worker .*(died|lost|gone)|lost worker",
        "the process was killed, mostly for want of memory (see the system log): use fewer "
        "--workers or a smaller --memory",
    ),
    (
        r"MemoryError|[Cc]annot allocate memory|out of memory|\bOOM\b|ResourceExhausted",
        "use fewer --workers or a smaller --memory",
    ),
    (
        r"Permission denied|Operation not permitted|Read-only",
        "give the user of this run the right to that path",
    ),
    (r"Input/output error|Errno 5\b", f"{_PASSING} check the disk or the network mount"),
    (
        r"[Ss]tale file handle|timed out|Timeout|Connection|CommClosed",
        f"{_PASSING} check the network and the mount",
    ),
    (r"can't be read at|unreadable", "the input is damaged there: copy it again from its origin"),
)
_OTHERWISE = "run the same command again; if it stays, it is a fault of segbatch: report this line"


class RunLog:
    """Appends lines, from any thread, each in one write. ``hides``: inputs are not to be known, whom words of libraries may
    quote. OutputError where the file can't be
    opened: then the run does not begin."""

    def __init__(self, path: Path, *, hides: bool = False) -> None:
        self.path, self.hides = path, hides
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab+", buffering=0)
        except OSError as error:
            kind = DiskFullError if error.errno in FULL else OutputError
            raise kind(
                f"can't write {path} ({error.strerror}), nor anything else there: make room, or choose "
                "another output folder"
            ) from error
        self._guard = threading.Lock()
        if self._file.tell() and os.pread(self._file.fileno(), 1, self._file.tell() - 1) != b"\n":
            self._file.write(b"\n")  # a kill has torn the last line: the next begins a new one

    def write(self, level: str, event: str, text: Any = "", **fields: Any) -> None:
        """Append a line; fields that are None are left out."""
        plain = {"t": round(time.time(), 3), "level": level, "source": here(), "event": event}
        fields = {"text": text or None, **fields}
        plain |= {k: _cut(v) for k, v in fields.items() if v is not None}
        line = json.dumps(plain, ensure_ascii=False, default=str)
        with self._guard:
            try:
                self._file.write(line.encode("utf-8", "backslashreplace") + b"\n")
            except (OSError, ValueError):  # a full disk, or a closed file: the run goes on
                return

    def close(self) -> None:
        with self._guard:
            self._file.close()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _cut(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _TEXT:
        return f"{value[: _TEXT // 2]} ... {value[-_TEXT // 2 :]}"
    return value


def remedy(error: str) -> str:
    """What to do about an error. The messages of segbatch's own errors end with it."""
    for pattern, words in _REMEDIES:
        if re.search(pattern, error):
            return words
    problem, _, todo = error.rpartition(": ")
    if re.fullmatch(r"\w*(Error|Exception)", problem):
        return _OTHERWISE
    if ";" in todo:  # "can't write x (why); do this"
        todo = todo.rpartition("; ")[2]
    return todo if problem and len(todo.split()) > 2 else _OTHERWISE


def failure(
    error: str, *, key: str | None, block: str | None = None, worker: str | None = None
) -> dict[str, Any]:
    """The five fields of a failure; None: unknown."""
    return {
        "input": key,
        "block": block,
        "worker": worker or None,
        "cause": error,
        "remedy": remedy(error),
    }


class LogWriter(Callback):
    """Writes the events of a run into its log."""

    def __init__(self, log: RunLog) -> None:
        self._log, self._once = log, Once()

    def on(self, event: events.Event) -> None:
        match event:
            case events.Surveyed(done, total) if done == total:
                self._log.write("info", "surveyed", inputs=total)
            case events.InputStarted(key, facts):
                self._started(key, facts)
            case events.BlockEnded():
                self._block(event)
            case events.InputDone(key, result):
                self._done(key, result)
            case events.InputFailed() | events.InputRetried():
                self._failed(event)
            case events.WorkerTrouble(kind, worker, why):
                self._log.write("warning", f"worker {kind}", why, worker=worker)
            case events.Stopping(why):
                self._log.write("warning", "stopping", why)
            case events.RunEnded(status, why):
                self._log.write("warning" if status else "info", "ended", why, status=status)
            case _ if event.logged:
                fields = {"input" if name == "key" else name: v for name, v in vars(event).items()}
                self._log.write("info", event.logged, **fields)

    def _started(self, key: str, facts: Mapping[str, Any]) -> None:
        kept = ("blocks", "tiles", "promised_bytes", "output")
        self._log.write("info", "started", input=key, **{name: facts.get(name) for name in kept})
        for warning in self._once.left(map(str, facts.get("warnings") or ())):
            self._log.write("warning", "input", warning, input=key)

    def _block(self, event: events.BlockEnded) -> None:
        key, block, receipt = event.key, event.block, event.receipt or {}
        worker = receipt.get("worker", event.worker)
        error, trace = "", None
        if event.error is not None:
            error = f"{type(event.error).__name__}: {event.error}"
            if not isinstance(event.error, SegbatchError):  # whose message says everything
                trace = "".join(traceback.format_exception(event.error))
        elif receipt.get("unreadable"):
            error = f"the input can't be read at {'; '.join(receipt['unreadable'][:3])}"
        if error:
            cause = failure(error, key=key, block=block, worker=worker)
            self._log.write("error", "block failed", trace=trace, **cause)
            return
        seconds = (receipt.get("seconds") or {}).get("total")
        seconds = seconds and round(seconds, 3)
        self._log.write("info", "block", input=key, block=block, worker=worker, seconds=seconds)

    def _done(self, key: str, result: Mapping[str, Any]) -> None:
        kept = ("status", "output", "seconds", "tiles", "worker", "peak_rss_bytes")
        level = "info" if result.get("status") == "complete" else "error"
        self._log.write(level, "done", input=key, **{name: result.get(name) for name in kept})
        for reason in result.get("review") or ():
            self._log.write("warning", "to review", str(reason), input=key)
        worker = None if "workers" in result else result.get("worker")
        for row in result.get("failures") or ():
            cause = failure(row.get("error", ""), key=key, block=row.get("block"), worker=worker)
            self._log.write("error", "missing", f"missing in {result.get('output')}", **cause)

    def _failed(self, event: events.InputFailed | events.InputRetried) -> None:
        cause = failure(event.error, key=event.key, worker=event.worker)
        if isinstance(event, events.InputRetried):
            self._log.write("warning", "retried", wait_s=event.wait_s, **cause)
        else:
            word = "refused" if event.status == 2 else "failed"
            self._log.write("error", word, status=event.status, **cause)


class _Records(logging.Handler):
    """Writes what libraries log in this process into the log."""

    def __init__(self, log: RunLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else "warning"
        try:
            text = self.format(record)
        except Exception as error:  # the arguments of the record do not fit its format
            text = f"{record.msg} ({error})"
        text = SAID if self._log.hides else text
        self._log.write(level, "library", text, logger=record.name)


@contextmanager
def recording(log: RunLog) -> Iterator[None]:
    """In this block, warnings of libraries in this process go to the log, not to the terminal."""
    handler, root = _Records(log), logging.getLogger()
    logging.captureWarnings(True)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        logging.captureWarnings(False)


def worker_line(log: RunLog, line: dict[str, Any]) -> None:
    """Write one line that a worker sent: ``process``, ``level``, ``logger``, ``text``."""
    level = line.get("level", "warning")
    text = SAID if log.hides else line["text"]
    log.write(level, "library", text, worker=line["process"], logger=line.get("logger"))
