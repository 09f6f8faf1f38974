"""Removal of what killed attempts leave beside products, and the list of quarantined inputs.

An attempt removes its own work store, and a successful one the stores of all other attempts at its
input. Stores of two kinds remain: a speculative copy that began later is killed with its worker,
perhaps while its product is moved into place; and a late block of a large input recreates parts of
its store. So a run removes what is left once its workers are gone. Stores in use, on a cluster that
goes on or for another workflow, are left alone and removed by their own process.

The list ``set-aside.txt`` has the inputs that are refused, failed or partial, each with its reason.
Once they are mended it can be the input of another workflow: ``inputs: {list: set-aside.txt}``.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from seg_batch.batch.inputs.tables import STACKED, files_of_key
from seg_batch.batch.job import BatchJob
from seg_batch.batch.journal import Journal, fold
from seg_batch.batch.journal.state import COMPLETE, FAILED, PARTIAL, REFUSED
from seg_batch.core.errors import OutputError
from seg_batch.core.files import remove, write_text
from seg_batch.core.run_files import (
    AREAS,
    AREAS_BY_CLASS,
    ATTEMPT,
    ATTEMPT_BYTES,
    FACTS,
    INTERMEDIATE,
    JOURNAL,
    JUNIT,
    MAPS,
    METRICS,
    PAGE,
    PART,
    REPORT,
    SET_ASIDE,
    STORE,
    VOLUMES,
    VOLUMES_BY_CLASS,
    path_beside,
    shortened,
)
from seg_batch.core.text import visible
from seg_batch.inference.outputs import Outputs
from seg_batch.inference.resume import is_at_work
from seg_batch.io.sinks.publish import restore_and_clean

_MARK = f".{ATTEMPT}"
_MAKING = re.compile(rf"{re.escape(PART)}-\d+$")  # a store that was being created

_ROOMS = (len(STORE), ATTEMPT_BYTES)  # behind the names of products, where those are long
REPORTS = (
    *(SET_ASIDE, PAGE, FACTS, JUNIT, METRICS, MAPS),
    *(AREAS, VOLUMES, AREAS_BY_CLASS, VOLUMES_BY_CLASS),
)


def remove_leftovers(job: BatchJob) -> None:
    """Remove what attempts at complete inputs have left; each folder is listed once."""
    inputs = fold(Journal.read(job.folder / JOURNAL)).inputs.values()
    complete = [r.outcome for r in inputs if r.status == COMPLETE and r.outcome]
    outputs = {result["output"] for result in complete}
    published = {Path(output) for output in outputs}
    published |= {Outputs(output).probabilities for output in published}
    published |= {Path(path) for result in complete for path in result.get("also", ())}
    parts = {path_beside(product, PART): product for product in published}
    named = outputs | {_shortened_at(output, room) for output in outputs for room in _ROOMS}
    for folder in {os.path.dirname(output) for output in outputs}:
        with suppress(FileNotFoundError):
            for name in os.listdir(folder):
                of, path = _product(name), Path(folder, name)
                if path in parts:
                    # A leftover that can't be removed does not fail the run.
                    with suppress(OutputError):
                        restore_and_clean(parts[path])
                elif of != name and os.path.join(folder, of) in named and not is_at_work(path):
                    remove(path)


def _shortened_at(path: str, room: int) -> str:
    folder, name = os.path.split(path)
    return os.path.join(folder, shortened(name, room))


def _product(name: str) -> str:
    """The product whose leftover it is; empty or its own name where it is none."""
    if name.endswith(PART):  # a report that was being written
        return name.rpartition(REPORT)[0]
    product, mark, attempt = name.rpartition(_MARK)
    if mark:
        return product if _MAKING.sub("", attempt).endswith(INTERMEDIATE) else ""
    return name.removesuffix(STORE)


def write_quarantined(job: BatchJob) -> None:
    """Write the list of quarantined inputs from the journal; remove it where there are none."""
    path, lines = job.folder / SET_ASIDE, []
    for key, record in fold(Journal.read(job.folder / JOURNAL)).inputs.items():
        named = key in job.requests or key in job.refused
        if named and record.status in (REFUSED, FAILED, PARTIAL):
            files = job.requests[key].files if key in job.requests else files_of_key(key)
            hides = bool(job.workflow["outputs"].get("deidentify"))
            stac = bool((job.workflow.get("inputs") or {}).get("stac"))
            listed = key if hides else _listed(STACKED.join(files), of_item=stac)
            if key in job.requests and job.requests[key].mosaic:
                listed = f"# {visible(key)}: a mosaic is no line of a list; run its workflow again"
            lines.append(f"# {record.status}: {visible(record.error or '')}\n{listed}\n")
    if lines:
        write_text(path, "".join(lines))
    else:
        path.unlink(missing_ok=True)


def forget_reports(folder: Path) -> None:
    """Remove reports that are out of date; they can be made again from the journal."""
    for name in REPORTS:
        (folder / name).unlink(missing_ok=True)


def _listed(path: str, *, of_item: bool = False) -> str:
    """The path, or a comment where a line can't hold it, or what a STAC item says of it would be lost."""
    if of_item:
        return "# of a STAC item: once it is mended, run the same workflow again"
    if path.splitlines() == [path] and path == path.strip():
        return path
    return f"# can't be listed, so name it by a pattern: {visible(path)}"
