"""What an earlier try of the same night left: products that need not be made again."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from seg_batch.batch.cleanup import forget_reports
from seg_batch.batch.job import BatchJob, PlannedInput, RefusedInput
from seg_batch.batch.journal import Journal, fold
from seg_batch.batch.journal.events import InputResult, JournalEvent, ProductStamp
from seg_batch.batch.journal.state import COMPLETE
from seg_batch.batch.summaries import file_stamp
from seg_batch.core.errors import Exit, StoreError
from seg_batch.core.files import flush, write_json
from seg_batch.core.run_files import JOURNAL, WORKFLOW, kept_journal
from seg_batch.inference.outputs import Outputs
from seg_batch.io.sinks.product import digest


@dataclass(frozen=True)
class PreviousRun:
    """``complete``: results of inputs whose products are as they were; what they are to be made of now
    only a survey tells (see ``is_up_to_date``). ``crash_suspects``: see there. ``dropped``: inputs that the workflow
    names no more, but for complete ones: what was set aside and then taken away makes no night less
    than complete."""

    complete: dict[str, InputResult]
    feared: dict[str, int]
    dropped: list[str]


def enter(orders: BatchJob) -> PreviousRun:
    """The run folder is made ready; returns what is known of it.

    StoreError when it holds the run of another workflow, unless ``overwrite``, which moves that run's
    journal aside, as it does one that came to its end.
    """
    known = earlier(orders)
    if known is None:
        _put_aside(orders.folder)
    # Of commands the first word alone: what follows may be secret.
    told = [words[:1] for words in orders.workflow.get("on_finish", ())]
    whole = {**orders.workflow, "on_finish": told, "fingerprint": orders.fingerprint}
    write_json(orders.folder / WORKFLOW, whole)
    return known or PreviousRun({}, {}, [])


def earlier(orders: BatchJob) -> PreviousRun | None:
    """What is known in the run folder; None where it is to be put aside. StoreError as for ``enter``."""
    events = Journal.read(orders.folder / JOURNAL)
    if _begins_anew(orders, events):
        return None
    inputs = fold(events).inputs
    done = {
        key: one.outcome for key, one in inputs.items() if one.status == COMPLETE and one.outcome
    }
    gone = [key for key in inputs if key not in orders.requests and key not in orders.refused]
    return PreviousRun(
        {key: done[key] for key in orders.requests if key in done and is_unchanged(done[key])},
        crash_suspects(events),
        [] if orders.of_many else [key for key in gone if key not in done],
    )


def crash_suspects(events: list[JournalEvent]) -> dict[str, int]:
    """Inputs that were in hand when a run died without a word, and how often, from twice on. One of them
    may be what kills it, such as a file that crashes its reader; so they are done after all others."""
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


def _put_aside(folder: Path) -> None:
    """Keep the journal under another name and empty it: it stays the same file, since it is open."""
    aside = folder / kept_journal(time.strftime("%Y%m%dT%H%M%S"))
    shutil.copyfile(folder / JOURNAL, aside)
    flush(aside)
    os.truncate(folder / JOURNAL, 0)
    forget_reports(folder)


def _begins_anew(orders: BatchJob, events: list[JournalEvent]) -> bool:
    # One that was killed at once has told of no workflow, and whoever took it over says only that.
    if all(event["event"] == "taken_over" for event in events):
        return False
    if _fingerprint(orders.folder / WORKFLOW) == orders.fingerprint:
        last = events[-1]
        over = last["event"] == "ended" and last["status"] in (Exit.COMPLETE, Exit.PARTIAL)
        return orders.overwrite and over
    if not orders.overwrite:
        raise StoreError(
            f"{orders.folder} holds the run of another workflow (the file was changed since, or --set "
            "differs), and the two can't be mixed: use --overwrite, or name another output folder"
        )
    return True


def _fingerprint(path: Path) -> str:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def is_up_to_date(result: InputResult | None, surveyed: PlannedInput | RefusedInput) -> bool:
    """Whether a complete result, if there is any, is what would be made of the input as the survey found
    it: of the same input and model, at the same place. Of one that is gone nothing else can be made."""
    if result is None:
        return False
    if isinstance(surveyed, RefusedInput):
        return not surveyed.seen
    facts = surveyed.facts
    return (facts["of"], facts["output"]) == (result.get("of"), result["output"])


def is_unchanged(result: InputResult) -> bool:
    """Whether product and probabilities are as they were when they were told of."""
    outputs = Outputs(Path(result["output"]))
    told = {
        outputs.product: result["product"],
        outputs.probabilities: result.get("probabilities"),
    }
    return all(_is_same(path, made) for path, made in told.items() if made)


def _is_same(path: Path, made: ProductStamp) -> bool:
    """By size and time, else by its hash."""
    size, mtime_ns = file_stamp(str(path))
    if not mtime_ns or size != made["bytes"]:
        return False
    return mtime_ns == made["mtime_ns"] or digest(path) == made["sha256"]
