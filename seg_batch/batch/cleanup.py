"""What attempts leave beside the products when they are ended with their process: taken away.

An attempt takes its own work store away, and the one that succeeds those of all others at its input.
That leaves those of stragglers that began after it ended, or were in the middle of something: they lose
the race and are killed with their workers, perhaps with their product half in place. A block of a large
input that is written late brings back parts of its store. So a night looks once more when its workers
are gone. What is at work, on a cluster that lives on or for another workflow, is left alone and takes
itself away.

Also the quarantine file: the inputs that did not come out whole, each with its reason, as a list. Once
what it tells of is mended, it can be given to another workflow: ``inputs: {list: set-aside.txt}``.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from seg_batch.batch.job import BatchJob
from seg_batch.batch.journal import Journal, fold
from seg_batch.batch.journal.state import COMPLETE, FAILED, PARTIAL, REFUSED
from seg_batch.core.errors import OutputError
from seg_batch.core.files import remove, write_text
from seg_batch.core.run_files import (
    ATTEMPT,
    FACTS,
    JOURNAL,
    JUNIT,
    METRICS,
    ON_THE_WAY,
    PAGE,
    PART,
    REPORT,
    SET_ASIDE,
    STORE,
)
from seg_batch.core.text import visible
from seg_batch.inference.outputs import Outputs
from seg_batch.inference.resume import is_at_work
from seg_batch.io.sinks.publish import tidy

_MARK = f".{ATTEMPT}"
_MAKING = re.compile(rf"{re.escape(PART)}-\d+$")  # a store that was being made

REPORTS = (SET_ASIDE, PAGE, FACTS, JUNIT, METRICS)


def sweep(orders: BatchJob) -> None:
    """Remove what attempts at inputs that are complete have left; each folder is listed once."""
    inputs = fold(Journal.read(orders.folder / JOURNAL)).inputs.values()
    outputs = {one.outcome["output"] for one in inputs if one.status == COMPLETE and one.outcome}
    published = outputs | {str(Outputs(Path(output)).probabilities) for output in outputs}
    for folder in {os.path.dirname(output) for output in outputs}:
        with suppress(FileNotFoundError):
            for name in os.listdir(folder):
                of, path = _product(name), Path(folder, name)
                product = Path(folder, name.removesuffix(PART))
                if name.endswith(PART) and str(product) in published:
                    with suppress(OutputError):  # what can't be removed spoils no night
                        tidy(product)
                elif of != name and os.path.join(folder, of) in outputs and not is_at_work(path):
                    remove(path)


def _product(name: str) -> str:
    """Of which product it is a leftover; empty or its own name where it is none."""
    if name.endswith(PART):  # of a report that was being written
        return name.rpartition(REPORT)[0]
    product, mark, attempt = name.rpartition(_MARK)
    if mark:
        return product if _MAKING.sub("", attempt).endswith(ON_THE_WAY) else ""
    return name.removesuffix(STORE)


def write_aside(orders: BatchJob) -> None:
    """Make it from the journal; where there is nothing to tell, there is no file."""
    path = orders.folder / SET_ASIDE
    lines = [
        f"# {one.status}: {visible(one.error or '')}\n{_listed(_path(orders, key))}\n"
        for key, one in fold(Journal.read(orders.folder / JOURNAL)).inputs.items()
        if one.status in (REFUSED, FAILED, PARTIAL)
        and (key in orders.requests or key in orders.refused)
    ]
    if lines:
        write_text(path, "".join(lines))
    else:
        path.unlink(missing_ok=True)


def forget_reports(folder: Path) -> None:
    """Remove what tells of a stand that is no more; the journal has all of it."""
    for name in REPORTS:
        (folder / name).unlink(missing_ok=True)


def _path(orders: BatchJob, key: str) -> str:
    return orders.requests[key].input if key in orders.requests else key


def _listed(path: str) -> str:
    """The path, where a list of lines can hold it."""
    if path.splitlines() == [path] and path == path.strip():
        return path
    return f"# can't be listed, so name it by a pattern: {visible(path)}"
