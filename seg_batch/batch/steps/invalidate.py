"""Invalidate a prediction whose model or inputs have changed, so that it is made again."""

from __future__ import annotations

import time
from pathlib import Path

from seg_batch.batch.journal import Journal
from seg_batch.batch.resume import is_unchanged
from seg_batch.core.files import remove
from seg_batch.core.run_files import JOURNAL, kept_journal
from seg_batch.inference.outputs import Outputs
from seg_batch.inference.resume import clean


def invalidate(run: Path) -> None:
    """Remove the unchanged products of the run in this folder, and its unfinished work.

    The journal is renamed last, so that the next call completes one that was killed."""
    journal = run / JOURNAL
    products: dict[str, bool] = {}
    for event in Journal.read(journal):
        if event["event"] == "surveyed":
            products.setdefault(event["facts"]["output"], False)
        elif event["event"] == "done":
            products[event["outcome"]["output"]] = is_unchanged(event["outcome"])
    for product, ours in products.items():
        outputs = Outputs(Path(product))
        clean(outputs)
        if ours:
            for path in (outputs.probabilities, outputs.product, outputs.report):
                remove(path)
    if journal.exists():
        journal.rename(run / kept_journal(time.time_ns()))
