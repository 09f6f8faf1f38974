"""The folder in which a patch dataset grows, beside its destination, until it is whole.

::

    <output>.work/plan.json      the fingerprint of the dataset
    <output>.work/survey/*.json  the survey of each case
    <output>.work/done/*.json    one receipt per finished task, written after its chunks
    <output>.work/dataset        the dataset to be, moved to <output> at the end
    <output>.work/staged         uncompressed copies that tasks share

The same command resumes a killed run with what has no receipt. Another plan is refused.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_batch.config.recipe import Recipe
from seg_batch.core.errors import OutputError, StoreError
from seg_batch.core.files import (
    flush,
    held_folder,
    read_json,
    remove,
    require_local_output,
    translate_os_errors,
    write_json,
)
from seg_batch.core.run_files import PARTIAL, WORK, path_beside
from seg_batch.datasets.store import FORMAT
from seg_batch.io.sinks.publish import flush_all, require_writable
from seg_batch.io.sinks.work_store import fingerprint_digest

SURVEY, DONE, STAGED, _DATASET = "survey", "done", "staged", "dataset"  # folders in it
_PLAN = "plan.json"
_LAID_OUT = "laid-out"
_PUBLISHED = "published"
_EARLIER = "earlier"


def work_folder(output: Path) -> Path:
    return path_beside(output, WORK)


def require_replaceable_dataset(output: Path, overwrite: bool) -> None:
    """OutputError for no path of this machine, and when ``output`` exists, unless it is a patch dataset and may be overwritten, or was
    moved there by a run that was killed before it removed its work folder."""
    require_local_output(output)
    if not output.exists() or _was_published(output):
        return
    if not (overwrite and _is_dataset(output)):
        advice = "" if overwrite else ", or replace an earlier result with --overwrite"
        raise OutputError(f"{output} exists: give another output{advice}")


def _is_dataset(path: Path) -> bool:
    """Of any version. An image in Zarr is none: it may be the only copy."""
    metadata = read_json(path / "zarr.json")
    attributes = metadata.get("attributes") if isinstance(metadata, dict) else None
    return isinstance(attributes, dict) and attributes.get("format") == FORMAT


def _was_published(output: Path) -> bool:
    work = work_folder(output)
    return (work / DONE / f"{_PUBLISHED}.json").exists() and not (work / _DATASET).exists()


class PatchWork:
    """A work folder that the coordinator holds open; tasks get a copy."""

    def __init__(self, output: Path, digest: str) -> None:
        self.output, self.path, self.digest = output, work_folder(output), digest
        self.dataset = self.path / _DATASET

    def receipts(self, kind: str) -> dict[str, Any]:
        """The readable receipts of this plan in ``survey`` or ``done``, by name."""
        receipts = {}
        for path in (self.path / kind).glob("*.json"):
            receipt = read_json(path)
            if isinstance(receipt, dict) and receipt.get("digest") == self.digest:
                receipts[path.stem] = receipt["found"]
        return receipts

    def note(self, kind: str, name: str, result: Any) -> None:
        """Write a receipt, flushed; what the task wrote must have been flushed before."""
        with translate_os_errors(self.path):
            write_json(self.path / kind / f"{name}.json", {"digest": self.digest, "found": result})

    @property
    def laid_out(self) -> bool:
        return _LAID_OUT in self.receipts(DONE)

    def forget(self) -> None:
        """Remove all receipts of tasks: the arrays are about to be created anew."""
        with translate_os_errors(self.path):
            for receipt in (self.path / DONE).iterdir():
                receipt.unlink(missing_ok=True)

    def lay_out(self) -> None:
        """Flush the dataset's empty arrays, then write the receipt that says so."""
        flush_all(self.dataset)
        self.note(DONE, _LAID_OUT, {})

    @property
    def published(self) -> bool:
        return _was_published(self.output) and _PUBLISHED in self.receipts(DONE)

    def publish(self) -> None:
        """Move the finished dataset into place; an earlier one is moved into the work folder first."""
        with translate_os_errors(self.output):
            flush_all(self.dataset)
            self.note(DONE, _PUBLISHED, {})
            if self.output.exists():
                remove(self.path / _EARLIER)
                os.replace(self.output, self.path / _EARLIER)
            os.replace(self.dataset, self.output)
            flush(self.output.parent)

    def remove(self) -> None:
        """Remove the folder. Receipts and the plan go last, since a kill may come in between: the next
        run then removes the rest."""
        self.clear(lambda entry: entry.name == DONE)
        shutil.rmtree(self.path, ignore_errors=True)

    def clear(self, order: Callable[[Path], bool]) -> None:
        """Remove all but the plan, in this order; move an earlier dataset back that is not replaced."""
        earlier = self.path / _EARLIER
        if earlier.exists() and not self.output.exists():
            os.replace(earlier, self.output)
        for entry in sorted(self.path.iterdir(), key=order):
            if entry.name != _PLAN:
                remove(entry)


@dataclass(frozen=True)
class DatasetJob:
    """What all tasks share. ``align``: how labels on another grid are brought to their image's."""

    work: PatchWork
    recipe: Recipe
    align: str | None


@contextmanager
def open_work(output: Path, fingerprint: dict[str, Any], overwrite: bool) -> Iterator[PatchWork]:
    """The work folder for ``output``, new or as an earlier run of the same plan left it.

    StoreError when another plan was begun there (unless ``overwrite``), OutputError when it is
    held by another process, is not ours, or can't be written.
    """
    require_writable(output.parent)
    work = PatchWork(output, fingerprint_digest(fingerprint))
    busy = OutputError(
        f"another segbatch run is writing {output}: wait for it, or use another output"
    )
    with held_folder(work.path, busy):
        _adopt(work, fingerprint, overwrite)
        with translate_os_errors(work.path):
            for kind in (SURVEY, DONE, STAGED):
                (work.path / kind).mkdir(exist_ok=True)
            for partial in work.path.rglob(f"*{PARTIAL}"):
                partial.unlink(missing_ok=True)
        yield work


def _adopt(work: PatchWork, fingerprint: dict[str, Any], overwrite: bool) -> None:
    plan = work.path / _PLAN
    before = read_json(plan)
    if before is None and any(entry.suffix != PARTIAL for entry in work.path.iterdir()):
        raise OutputError(
            f"{work.path} is no work folder of segbatch, and one is needed there: move it away"
        )
    if before is not None and before.get("digest") != work.digest:
        if not overwrite:
            raise StoreError(_another_plan(work.path, before.get("fingerprint", {}), fingerprint))
        # Receipts go first, since a kill may come in between: arrays without them are written anew.
        work.clear(lambda entry: entry.name != DONE)
        before = None
    if before is None:
        with translate_os_errors(plan):
            write_json(plan, {"digest": work.digest, "fingerprint": fingerprint})


def _another_plan(path: Path, before: dict[str, Any], after: dict[str, Any]) -> str:
    """What differs, by the names of parts and cases: their contents would fill a page."""
    names = [k for k in sorted({*before, *after} - {"cases"}) if before.get(k) != after.get(k)]
    old, new = before.get("cases", {}), after.get("cases", {})
    names += [f"case {k}" for k in sorted({*old, *new}) if old.get(k) != new.get(k)]
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return (
        f"{path} holds the beginning of another dataset (other {shown}): run that command again, or "
        "start anew with --overwrite"
    )
