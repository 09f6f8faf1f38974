"""A prediction that has to be made anew, for its model or its inputs are not those that it was made of."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from seg_batch.batch.journal import Journal
from seg_batch.batch.resume import is_unchanged
from seg_batch.core.run_files import JOURNAL, kept_journal
from seg_batch.inference.outputs import Outputs
from seg_batch.inference.resume import clean


def invalidate(run: Path) -> None:
    """Remove what the night in this run folder has made, as far as it is as that night left it, and
    what it had begun. Its journal goes last: a kill in between is made good by the next call."""
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
                _remove(path)
    if journal.exists():
        journal.rename(run / kept_journal(time.time_ns()))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
