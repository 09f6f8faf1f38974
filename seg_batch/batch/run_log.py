"""The log of a run: ``log.jsonl``, one JSON object per line, for whoever asks what went wrong.

    {"t": unix seconds, "level": "info" | "warning" | "error", "source": "host:pid" or a worker,
     "event": one word, "text": one line, ...}

A failure also says ``input``, ``block``, ``worker``, ``cause`` and ``remedy``, as far as they are
known. The journal holds what a run needs to go on, and what can't be found out again is on disk before
the run goes on (see ``journal.events``); the log holds what people need, and a disk that fills up and
refuses its lines stops nothing.
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

_TEXT = 4000  # characters of one value: a traceback is cut, not the disk filled
_PASSING = "it is tried again on its own; if it stays,"
# What helps, by what the cause says. The first that fits.
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
    """Appends lines, from any thread; each is written whole or not at all. OutputError where it can't
    be made: then there is no run either."""

    def __init__(self, path: Path) -> None:
        self.path = path
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
            self._file.write(b"\n")  # a kill in the middle of a line: the next one stands alone

    def write(self, level: str, event: str, text: Any = "", **fields: Any) -> None:
        """Fields that are None are left out."""
        told = {"t": round(time.time(), 3), "level": level, "source": here(), "event": event}
        more = {"text": text or None, **fields}
        told |= {k: _cut(v) for k, v in more.items() if v is not None}
        line = json.dumps(told, ensure_ascii=False, default=str).encode("utf-8", "backslashreplace")
        with self._guard:
            try:
                self._file.write(line + b"\n")
            except (OSError, ValueError):  # a full disk, or closed: the run matters, not its log
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
    """What to do about an error, in words. Errors of ours end in it: found, why, what to do."""
    for pattern, words in _REMEDIES:
        if re.search(pattern, error):
            return words
    found, _, todo = error.rpartition(": ")
    if re.fullmatch(r"\w*(Error|Exception)", found):
        return _OTHERWISE
    if ";" in todo:  # "can't write x (why); do this"
        todo = todo.rpartition("; ")[2]
    return todo if found and len(todo.split()) > 2 else _OTHERWISE


def failure(
    error: str, *, key: str | None, block: str | None = None, worker: str | None = None
) -> dict[str, Any]:
    """The five things that a failure names; None: not known."""
    return {
        "input": key,
        "block": block,
        "worker": worker or None,
        "cause": error,
        "remedy": remedy(error),
    }


def _trace(error: BaseException) -> str | None:
    """Of errors that nobody foresaw; those of ours say all in their one line."""
    if isinstance(error, SegbatchError):
        return None
    return "".join(traceback.format_exception(error))


class LogWriter(Callback):
    """Writes the events of a run into its log."""

    def __init__(self, log: RunLog) -> None:
        self._log = log

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
        for warning in facts.get("warnings") or ():
            self._log.write("warning", "input", str(warning), input=key)

    def _block(self, event: events.BlockEnded) -> None:
        key, block, receipt = event.key, event.block, event.receipt or {}
        worker = receipt.get("worker", event.worker)
        error, trace = "", None
        if event.error is not None:
            error, trace = f"{type(event.error).__name__}: {event.error}", _trace(event.error)
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
        for one in result.get("failures") or ():
            cause = failure(
                one.get("error", ""),
                key=key,
                block=one.get("block"),
                worker=None if "workers" in result else result.get("worker"),
            )
            self._log.write("error", "missing", f"missing in {result.get('output')}", **cause)

    def _failed(self, event: events.InputFailed | events.InputRetried) -> None:
        cause = failure(event.error, key=event.key, worker=event.worker)
        if isinstance(event, events.InputRetried):
            self._log.write("warning", "retried", wait_s=event.wait_s, **cause)
        else:
            word = "refused" if event.status == 2 else "failed"
            self._log.write("error", word, status=event.status, **cause)


class _Records(logging.Handler):
    """What libraries log in this process, as lines of the log."""

    def __init__(self, log: RunLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else "warning"
        try:
            text = self.format(record)
        except Exception as error:  # their arguments do not fit their words
            text = f"{record.msg} ({error})"
        self._log.write(level, "library", text, logger=record.name)


@contextmanager
def recording(log: RunLog) -> Iterator[None]:
    """While this lasts, warnings of libraries in this process go to the log, not to the terminal."""
    handler, root = _Records(log), logging.getLogger()
    logging.captureWarnings(True)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        logging.captureWarnings(False)


def worker_line(log: RunLog, told: dict[str, Any]) -> None:
    """One line that a worker sent: ``process``, ``level``, ``logger``, ``text``."""
    level = told.get("level", "warning")
    log.write(level, "library", told["text"], worker=told["process"], logger=told.get("logger"))
