"""Dask plugins with which workers report to the coordinator: library logs, and their names.

Plugins also reach workers that join later or restart. Lines travel as events through the scheduler.
They are plain text: an event that can't be packed would raise in the middle of a block. Each worker
reports its host and pid once, since the scheduler knows only its address. This module imports
``distributed``, so ``dask_pool`` imports it late.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from distributed import WorkerPlugin

from seg_batch.core.hardware import here

LOG_TOPIC = "segbatch-log"
REPEAT_S = 60.0  # a worker sends the same line once in this time
_LINES = 1000  # remembered
_TEXT = 2000

NAME_TOPIC = "segbatch-name"


class _Sender(logging.Handler):
    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        super().__init__(logging.WARNING)
        self._send = send
        self._sent: dict[tuple[str, str], float] = {}
        self._source = here()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)[-_TEXT:]
            if self._is_new(record.name, text):
                level = "error" if record.levelno >= logging.ERROR else "warning"
                self._send(
                    {"process": self._source, "level": level, "logger": record.name, "text": text}
                )
        except Exception:  # a line that can't be sent must not fail the block it is about
            return

    def _is_new(self, name: str, text: str) -> bool:
        now = time.monotonic()
        if now - self._sent.get((name, text), -REPEAT_S) < REPEAT_S:
            return False
        if len(self._sent) >= _LINES:
            self._sent.clear()
        self._sent[name, text] = now
        return True


class GatherLogs(WorkerPlugin):
    """Sends warnings and errors of the worker's libraries. Those of ``distributed`` itself are left out:
    an event about a failing event would never end."""

    name = "segbatch-logs"

    def setup(self, worker: Any) -> None:
        handler = _Sender(lambda line: worker.log_event(LOG_TOPIC, line))
        handler.addFilter(lambda record: not record.name.startswith(("distributed", "tornado")))
        self._handler = handler
        logging.captureWarnings(True)
        logging.getLogger().addHandler(handler)

    def teardown(self, worker: Any) -> None:
        logging.getLogger().removeHandler(self._handler)


class ReportName(WorkerPlugin):
    name = "segbatch-names"

    def setup(self, worker: Any) -> None:
        worker.log_event(NAME_TOPIC, {"worker": worker.address, "process": here()})
