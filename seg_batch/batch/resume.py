"""Resume: what earlier sessions of the run left, and which of their products are up to date."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from seg_batch.batch.cleanup import forget_reports
from seg_batch.batch.job import BatchJob, PlannedInput, RefusedInput
from seg_batch.batch.journal import Journal, fold
from seg_batch.batch.journal.events import InputResult, JournalEvent, ProductStamp
from seg_batch.batch.journal.state import COMPLETE
from seg_batch.batch.summaries import file_stamp
from seg_batch.core.errors import Exit, StoreError
from seg_batch.core.files import flush, read_json, write_json
from seg_batch.core.privacy.addresses import told_of
from seg_batch.core.run_files import JOURNAL, WORKFLOW, kept_journal
from seg_batch.inference.outputs import Outputs, in_bucket
from seg_batch.inference.products.tiles import are_there
from seg_batch.io.sinks.product import digest
from seg_batch.io.sinks.product_sides import side_file_changes

_LOOKS = 16  # at objects in a bucket at once


@dataclass(frozen=True)
class PreviousRun:
    """``complete``: results of inputs whose products are unchanged; ``is_up_to_date`` compares them
    with a survey. ``crash_suspects``: see the function. ``dropped``: inputs that the workflow no
    longer names and that are not complete, which no longer count."""

    complete: dict[str, InputResult]
    crash_suspects: dict[str, int]
    dropped: list[str]


def prepare_folder(job: BatchJob) -> PreviousRun:
    """Prepare the run folder; returns what earlier sessions left in it.

    StoreError when it holds the run of another workflow, unless the job may ``overwrite``: then the
    journal of that run is renamed, as is that of a run of the same workflow that has ended.
    """
    previous = previous_run(job)
    if previous is None:
        _archive_journal(job.folder)
    # Only the first word of each command: the others may be secret.
    commands = [words[:1] for words in job.workflow.get("on_finish", ())]
    whole = {**job.workflow, "on_finish": commands, "fingerprint": job.fingerprint}
    write_json(job.folder / WORKFLOW, told_of(whole))
    return previous or PreviousRun({}, {}, [])


def previous_run(job: BatchJob) -> PreviousRun | None:
    """What earlier sessions left; None where their journal is to be renamed. StoreError as
    ``prepare_folder``."""
    events = Journal.read(job.folder / JOURNAL)
    if _begins_anew(job, events):
        return None
    inputs = fold(events).inputs
    done = {key: r.outcome for key, r in inputs.items() if r.status == COMPLETE and r.outcome}
    done = _with_all_in_bucket(done, [key for key in job.requests if job.requests[key].upload])
    done = {key: result for key, result in done.items() if _has_its_tiles(result, job, key)}
    gone = [key for key in inputs if key not in job.requests and key not in job.refused]
    return PreviousRun(
        {key: done[key] for key in job.requests if key in done and is_unchanged(done[key])},
        crash_suspects(events),
        [] if job.shares_folder else [key for key in gone if key not in done],
    )


def crash_suspects(events: list[JournalEvent]) -> dict[str, int]:
    """Inputs that were running at least twice when a coordinator was killed, and how often.

    Such an input may have caused it, as a file that crashes its reader does, so they are done last.
    """
    deaths, in_hand = Counter[str](), set[str]()
    for event in events:
        kind, key = event["event"], event["input"]
        if kind == "started":
            in_hand.add(key)
        elif kind in ("done", "failed", "refused", "retried", "withdrawn"):
            in_hand.discard(key)
        elif kind in ("begun", "ended"):
            deaths.update(in_hand if kind == "begun" else ())
            in_hand.clear()
    deaths.update(in_hand)
    return {key: n for key, n in deaths.items() if n > 1}


def _archive_journal(folder: Path) -> None:
    """Copy the journal to another name and empty it. It stays the same file, since it is open."""
    kept = folder / kept_journal(time.strftime("%Y%m%dT%H%M%S"))
    shutil.copyfile(folder / JOURNAL, kept)
    flush(kept)
    os.truncate(folder / JOURNAL, 0)
    forget_reports(folder)


def _begins_anew(job: BatchJob, events: list[JournalEvent]) -> bool:
    # A run killed at once has recorded no workflow, but perhaps that it was taken over.
    if all(event["event"] == "taken_over" for event in events):
        return False
    if recorded_fingerprint(job.folder) == job.fingerprint:
        last = events[-1]
        over = last["event"] == "ended" and last["status"] in (Exit.COMPLETE, Exit.PARTIAL)
        return job.overwrite and over
    if not job.overwrite:
        raise StoreError(
            f"{job.folder} holds the run of another workflow (the file was changed since, or --set "
            "differs), and the two can't be mixed: use --overwrite, or name another output folder"
        )
    return True


def recorded_fingerprint(folder: Path) -> str:
    """The fingerprint of the workflow whose run is in the folder; empty where there is none."""
    workflow = read_json(folder / WORKFLOW)
    return str(workflow.get("fingerprint", "")) if isinstance(workflow, dict) else ""


def is_up_to_date(result: InputResult | None, surveyed: PlannedInput | RefusedInput) -> bool:
    """Whether a complete result is what would be made of the input as surveyed: of the same input
    and model, at the same output, with all further products. The result of an input that is gone stays up to date."""
    if result is None:
        return False
    if isinstance(surveyed, RefusedInput):
        return not surveyed.seen
    facts = surveyed.facts
    if not {*facts.get("also", ())} <= result.get("also", {}).keys():
        return False
    return (facts["of"], facts["output"]) == (result.get("of"), result["output"])


def _with_all_in_bucket(
    done: dict[str, InputResult], uploaded: list[str]
) -> dict[str, InputResult]:
    """Without those whose products should be in a bucket, and are not there as they were written. Nothing is predicted
    again for them."""
    asked = [key for key in uploaded if key in done]
    with ThreadPoolExecutor(_LOOKS) as threads:
        whole = dict(zip(asked, threads.map(lambda key: _is_in_bucket(done[key]), asked), strict=True))  # fmt: skip
    return {key: result for key, result in done.items() if whole.get(key, True)}


def _is_in_bucket(result: InputResult) -> bool:
    rows = result.get("remote", {}).values()
    return bool(rows) and all(map(in_bucket, rows))


def _has_its_tiles(result: InputResult, job: BatchJob, key: str) -> bool:
    """Whether the maps of a mosaic's pieces are there, where they are asked for. Nothing is predicted again for them."""
    folder = job.requests[key].tiles_out if key in job.requests else None
    if folder is None:
        return True
    report = read_json(Outputs(Path(result["output"])).report)
    return are_there(folder, report, result["product"]["sha256"])


def is_unchanged(result: InputResult) -> bool:
    """Whether all products are as they were when the result was recorded, also with the files beside them."""
    outputs, probabilities = Outputs(Path(result["output"])), result.get("probabilities")
    if probabilities and not _is_same(outputs.probabilities, probabilities):
        return False
    if not all(_is_same(Path(path), stamp) for path, stamp in result.get("also", {}).items()):
        return False
    return _is_same(outputs.product, result["product"])


def _is_same(path: Path, stamp: ProductStamp) -> bool:
    """By size and modification time, else by hash."""
    size, mtime_ns = file_stamp(str(path))
    if not mtime_ns or size != stamp["bytes"]:
        return False
    if side_file_changes(path, stamp.get("side_files", {})):
        return False
    return mtime_ns == stamp["mtime_ns"] or digest(path) == stamp["sha256"]
