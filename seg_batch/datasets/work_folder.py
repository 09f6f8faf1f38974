"""The folder in which a patch dataset grows, beside its destination, until it is whole.

::

    <output>.work/plan.json      what is being made: its fingerprint
    <output>.work/survey/*.json  what one pass over a case found
    <output>.work/done/*.json    one receipt per finished task, written after its chunks
    <output>.work/dataset        the dataset to be, moved to <output> at the end
    <output>.work/staged         uncompressed copies that tasks share

It survives any kill: the same command goes on with what has no receipt. Another plan is refused.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seg_batch.core.errors import OutputError, StoreError
from seg_batch.core.files import (
    flush,
    held_folder,
    read_json,
    remove,
    translate_os_errors,
    write_json,
)
from seg_batch.core.run_files import PARTIAL, WORK, path_beside
from seg_batch.datasets.store import FORMAT
from seg_batch.io.sinks.publish import flush_all, require_writable
from seg_batch.io.sinks.work_store import fingerprint_digest

SURVEY, DONE, STAGED = "survey", "done", "staged"  # folders in it
_PLAN = "plan.json"
_LAID_OUT = "laid-out"
_PUBLISHED = "published"
_EARLIER = "earlier"


def work_folder(output: Path) -> Path:
    return path_beside(output, WORK)


def require_replaceable_dataset(output: Path, overwrite: bool) -> None:
    """OutputError when ``output`` exists, unless it is a patch dataset and may be overwritten, or it
    was just moved there by a run that was killed before it had tidied up."""
    if not output.exists() or _was_published(output):
        return
    if not (overwrite and _is_dataset(output)):
        advice = "" if overwrite else ", or replace an earlier result with --overwrite"
        raise OutputError(f"{output} exists: give another output{advice}")


def _is_dataset(path: Path) -> bool:
    """Any version of one; an image in Zarr is somebody's only copy."""
    try:
        attributes = json.loads((path / "zarr.json").read_text(encoding="utf-8"))["attributes"]
        return bool(attributes["format"] == FORMAT)
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _was_published(output: Path) -> bool:
    work = work_folder(output)
    return (work / DONE / f"{_PUBLISHED}.json").exists() and not (work / "dataset").exists()


class PatchWork:
    """An open work folder, held by this process."""

    def __init__(self, output: Path, digest: str) -> None:
        self.output, self.path, self.digest = output, work_folder(output), digest
        self.dataset, self.staged = self.path / "dataset", self.path / STAGED

    def receipts(self, kind: str) -> dict[str, Any]:
        """The readable receipts of this plan in ``survey`` or ``done``, by name."""
        found = {}
        for path in (self.path / kind).glob("*.json"):
            receipt = read_json(path)
            if isinstance(receipt, dict) and receipt.get("digest") == self.digest:
                found[path.stem] = receipt["found"]
        return found

    def note(self, kind: str, name: str, found: Any) -> None:
        note(self.path, self.digest, kind, name, found)

    @property
    def laid_out(self) -> bool:
        return _LAID_OUT in self.receipts(DONE)

    def forget(self) -> None:
        """No task counts as done: the arrays that they wrote are gone, whoever was killed when."""
        with translate_os_errors(self.path):
            for receipt in (self.path / DONE).iterdir():
                receipt.unlink(missing_ok=True)

    def lay_out(self) -> None:
        """Say that the dataset's arrays are there, whole, and flushed."""
        flush_all(self.dataset)
        self.note(DONE, _LAID_OUT, {})

    @property
    def published(self) -> bool:
        return _was_published(self.output) and _PUBLISHED in self.receipts(DONE)

    def publish(self) -> None:
        """Move the finished dataset into place; what stood there steps aside first."""
        with translate_os_errors(self.output):
            flush_all(self.dataset)
            self.note(DONE, _PUBLISHED, {})
            if self.output.exists():
                remove(self.path / _EARLIER)
                os.replace(self.output, self.path / _EARLIER)
            os.replace(self.dataset, self.output)
            flush(self.output.parent)

    def remove(self) -> None:
        """Everything but what was published; an earlier result goes back where it was."""
        earlier = self.path / _EARLIER
        if earlier.exists() and not self.output.exists():
            os.replace(earlier, self.output)
        # What says that all is done, and whose this is, goes last: a kill may come here too.
        for entry in sorted(self.path.iterdir(), key=lambda e: e.name in (DONE, _PLAN)):
            if entry.name != _PLAN:
                remove(entry)
        shutil.rmtree(self.path, ignore_errors=True)


def note(work: Path, digest: str, kind: str, name: str, found: Any) -> None:
    """Write a receipt, flushed; what it speaks of must have been flushed before."""
    with translate_os_errors(work):
        write_json(work / kind / f"{name}.json", {"digest": digest, "found": found})


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
        for entry in _old(work):
            remove(entry)
        before = None
    if before is None:
        with translate_os_errors(plan):
            write_json(plan, {"digest": work.digest, "fingerprint": fingerprint})


def _old(work: PatchWork) -> list[Path]:
    earlier = work.path / _EARLIER
    if earlier.exists() and not work.output.exists():
        os.replace(earlier, work.output)
    # What says that something is done goes first: a kill may come here too.
    entries = sorted(work.path.iterdir(), key=lambda entry: entry.name != DONE)
    return [entry for entry in entries if entry.name != _PLAN]


def _another_plan(path: Path, before: dict[str, Any], after: dict[str, Any]) -> str:
    """What differs, by the names of parts and cases: their contents fill a page."""
    names = [k for k in sorted({*before, *after} - {"cases"}) if before.get(k) != after.get(k)]
    old, new = before.get("cases", {}), after.get("cases", {})
    names += [f"case {k}" for k in sorted({*old, *new}) if old.get(k) != new.get(k)]
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return (
        f"{path} holds the beginning of another dataset (other {shown}): run that command again, or "
        "start anew with --overwrite"
    )
