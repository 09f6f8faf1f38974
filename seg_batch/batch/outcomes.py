"""What has become of a night's inputs: each fate counted, written into the journal, and told."""

from __future__ import annotations

from collections import Counter

from seg_batch.batch.job import PlannedInput
from seg_batch.batch.journal import Journal
from seg_batch.batch.journal.events import InputResult
from seg_batch.core.callbacks import Listener
from seg_batch.core.errors import SegbatchError

IN_JOURNAL = {"lost": "worker_lost", "dropped": "worker_dropped", "straggler": "straggler"}
ASIDE = ("partial", "refused", "failed")  # what makes a night less than complete


def in_words(error: BaseException) -> str:
    """An error as the journal keeps it; ours say all in their one line."""
    return error.message if isinstance(error, SegbatchError) else f"{type(error).__name__}: {error}"


class Ledger:
    """``counts``: inputs by fate, and ``inputs`` in all, ``resumed``: complete before this night."""

    def __init__(self, journal: Journal, listener: Listener) -> None:
        self._journal, self._listener = journal, listener
        self.counts: Counter[str] = Counter()

    @property
    def aside(self) -> int:
        return sum(self.counts[fate] for fate in ASIDE)

    @property
    def left(self) -> int:
        return self.counts["inputs"] - self.counts["complete"] - self.aside

    def open(self, inputs: int, resumed: int) -> None:
        self.counts.update(inputs=inputs, resumed=resumed, complete=resumed)

    def anew(self) -> None:
        """One that was complete before is not what would be made now."""
        for fate in ("resumed", "complete"):
            self.counts[fate] -= 1

    def started(self, item: PlannedInput) -> None:
        self._journal.append("started", item.key, attempt=item.attempt, worker=None)
        self._listener.started(item.key, dict(item.facts))

    def retried(self, item: PlannedInput, why: str, wait_s: float, worker: str) -> None:
        told = {"attempt": item.attempt, "error": why, "wait_s": wait_s, "worker": worker or None}
        self._journal.append("retried", item.key, **told)
        self._listener.retried(item.key, why, wait_s, worker)

    def withdrawn(self, item: PlannedInput) -> None:
        self._journal.append("withdrawn", item.key)
        self._listener.withdrawn(item.key)

    def done(self, key: str, result: InputResult) -> None:
        self._journal.append("done", key, outcome=result)
        self.counts[result["status"]] += 1
        self._listener.done(key, dict(result))

    def refused(self, key: str, error: str, worker: str = "") -> None:
        self._journal.append("refused", key, error=error, worker=worker or None)
        self.counts["refused"] += 1
        self._listener.failed(key, error, 2, worker)

    def failed(self, item: PlannedInput, error: str, worker: str) -> None:
        self._journal.append(
            "failed", item.key, error=error, status=3, worker=worker or None, attempts=item.attempt
        )
        self.counts["failed"] += 1
        self._listener.failed(item.key, error, 3, worker)

    def worker(self, event: str, worker: str, why: str) -> None:
        """``lost`` or ``dropped``: the worker; ``straggler`` or ``retried``: a block on it, or an
        input. The journal keeps all but the last: of blocks, what matters is on disk."""
        if kind := IN_JOURNAL.get(event):
            self._journal.append(kind, worker=worker, why=why)
        self._listener.worker(event, worker, why)
