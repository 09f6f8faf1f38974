"""The outcomes of a run's inputs: each is written into the journal, counted, and sent on."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace

from seg_batch.batch.journal import Journal
from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import SegbatchError
from seg_batch.core.privacy.pseudonym import Teller

# Kinds of ``WorkerTrouble`` in the journal. Retries of blocks are not: their markers are on disk.
IN_JOURNAL = {"lost": "worker_lost", "dropped": "worker_dropped", "straggler": "straggler"}
_OF_RUN = (events.WorkerTrouble, events.Stopping, events.RunEnded)
QUARANTINED = ("partial", "refused", "failed")  # outcomes with which a run is not complete


def error_text(error: BaseException) -> str:
    """The text of an error in the journal; segbatch's own errors need no class name."""
    return error.message if isinstance(error, SegbatchError) else f"{type(error).__name__}: {error}"


class Outcomes(Callback):
    """Writes the events of a run into the journal, then sends them on. ``counts``: inputs by
    outcome, all ``inputs``, and those ``resumed``, which were complete before this session; ``to_review``: whose maps of this session
    are to be looked at. ``teller``: says what may be told of the troubles of workers."""

    def __init__(self, journal: Journal, callback: Callback, teller: Teller | None = None) -> None:
        self._journal, self._callback, self._teller = journal, callback, teller
        self._guard, self._ended = threading.Lock(), False
        self.counts: Counter[str] = Counter()

    @property
    def quarantined(self) -> int:
        return sum(self.counts[outcome] for outcome in QUARANTINED)

    @property
    def left(self) -> int:
        return self.counts["inputs"] - self.counts["complete"] - self.quarantined

    def open(self, inputs: int, resumed: int) -> None:
        self.counts.update(inputs=inputs, resumed=resumed, complete=resumed)

    def anew(self) -> None:
        """An input that was complete before is out of date, and will be made again."""
        for outcome in ("resumed", "complete"):
            self.counts[outcome] -= 1

    def on(self, event: events.Event) -> None:
        """The journal has the event before the callback gets it, so that a kill in between loses
        nothing."""
        if self._teller is not None and isinstance(event, _OF_RUN):
            event = replace(event, why=self._teller.told(event.why))
        with self._guard:
            self._note(event)
        self._callback.on(event)

    def _note(self, event: events.Event) -> None:
        append = self._journal.append
        match event:
            case events.InputStarted(key, attempt=attempt):
                append("started", key, attempt=attempt, worker=None)
            case events.InputRetried(key, error, wait_s, worker, attempt):
                fields = {"wait_s": wait_s, "worker": worker or None}
                append("retried", key, attempt=attempt, error=error, **fields)
            case events.InputWithdrawn(key):
                append("withdrawn", key)
            case events.InputDone(key, result):
                append("done", key, outcome=result)
                self.counts[result["status"]] += 1
                self.counts["to_review"] += bool(result.get("review"))
            case events.InputFailed(key, error, 2, worker):
                append("refused", key, error=error, worker=worker or None)
                self.counts["refused"] += 1
            case events.InputFailed(key, error, status, worker, attempts):
                fields = {"status": status, "worker": worker or None, "attempts": attempts}
                append("failed", key, error=error, **fields)
                self.counts["failed"] += 1
            case events.WorkerTrouble(kind, worker, why) if kind in IN_JOURNAL:
                append(IN_JOURNAL[kind], worker=worker, why=why)
            case events.Stopping(why) if not self._ended:  # a signal may come while the pool closes
                append("stopping", why=why)
            case events.RunEnded(status, why):
                self._ended = True
                append("ended", status=status, why=why)
