"""The journal of a run: append-only events on disk, the lease of its owner, and the state they add
up to."""

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
