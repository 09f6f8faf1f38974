"""What happened in a run, on disk: an append-only journal, its owner, and what it adds up to."""

from seg_batch.batch.journal.events import Journal
from seg_batch.batch.journal.lease import Lease, acquire
from seg_batch.batch.journal.run import begin, open_run
from seg_batch.batch.journal.state import InputRecord, State, Totals, fold

__all__ = [
    "InputRecord",
    "Journal",
    "Lease",
    "State",
    "Totals",
    "acquire",
    "begin",
    "fold",
    "open_run",
]
