"""What workers of a Dask cluster tell the coordinator: what libraries log there, and their names.

Plugins, because they also reach workers that join later or come back from the dead. Lines travel as
events through the scheduler; they are plain text, for an event that can't be packed would raise in
the middle of somebody's block. Each worker tells its host and pid once, as the scheduler knows its
address only. This file imports ``distributed``: ``worker_logs`` and pools load it late.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from distributed import WorkerPlugin

from seg_batch.core.hardware import here

LOG_TOPIC = "segbatch-log"
REPEAT_S = 60.0  # the same line of one worker is sent once in this time
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
            if self._is_news(record.name, text):
                level = "error" if record.levelno >= logging.ERROR else "warning"
                self._send(
                    {"process": self._source, "level": level, "logger": record.name, "text": text}
                )
        except Exception:  # a line that can't be told must not fail the block it is about
            return

    def _is_news(self, name: str, text: str) -> bool:
        now = time.monotonic()
        if now - self._sent.get((name, text), -REPEAT_S) < REPEAT_S:
            return False
        if len(self._sent) >= _LINES:
            self._sent.clear()
        self._sent[name, text] = now
        return True


class GatherLogs(WorkerPlugin):
    """Sends warnings and errors of the worker's libraries; ``distributed``'s own stay where they are,
    for an event about a failing event would never end."""

    name = "segbatch-logs"

    def setup(self, worker: Any) -> None:
        handler = _Sender(lambda told: worker.log_event(LOG_TOPIC, told))
        handler.addFilter(lambda record: not record.name.startswith(("distributed", "tornado")))
        self._handler = handler
        logging.captureWarnings(True)
        logging.getLogger().addHandler(handler)

    def teardown(self, worker: Any) -> None:
        logging.getLogger().removeHandler(self._handler)


class ReportName(WorkerPlugin):
    name = "segbatch-names"

    def setup(self, worker: Any) -> None:
        told = {"worker": worker.address, "process": here()}
        worker.log_event(NAME_TOPIC, told)
