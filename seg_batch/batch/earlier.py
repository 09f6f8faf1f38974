"""What an earlier try of the same night left: products that need not be made again."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from seg_batch.batch.aside import forget_reports
from seg_batch.batch.facts import stamp
from seg_batch.batch.orders import Orders
from seg_batch.errors import Exit, StoreError
from seg_batch.journal import Journal
from seg_batch.journal.events import NAME
from seg_batch.sinks.disk import flush, write_json
from seg_batch.sinks.product import digest

WORKFLOW = "workflow.json"


def enter(orders: Orders) -> dict[str, dict[str, Any]]:
    """The run folder is made ready; returns the results of those inputs that are complete in it.

    StoreError when it holds the run of another workflow, unless ``overwrite``, which moves that run's
    journal aside, as it does one that came to its end.
    """
    events = Journal.read(orders.folder / NAME)
    # One that was killed at once has told of no workflow, and whoever took it over says only that.
    begun = any(event["event"] != "taken_over" for event in events)
    if begun and _begin_anew(orders, events):
        _put_aside(orders.folder)
        events = []
    write_json(orders.folder / WORKFLOW, {**orders.workflow, "fingerprint": orders.fingerprint})
    earlier = _complete(events)
    return {
        key: earlier[key]
        for key, request in orders.requests.items()
        if key in earlier and _is_of(earlier[key], request.input) and is_unchanged(earlier[key])
    }


def _put_aside(folder: Path) -> None:
    """Keep the journal under another name and empty it: it stays the same file, since it is open."""
    aside = folder / f"journal-until-{time.strftime('%Y%m%dT%H%M%S')}.jsonl"
    shutil.copyfile(folder / NAME, aside)
    flush(aside)
    os.truncate(folder / NAME, 0)
    forget_reports(folder)


def _begin_anew(orders: Orders, events: list[dict[str, Any]]) -> bool:
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


def _complete(events: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The last result of every input whose last word was that it is done."""
    found: dict[str, dict[str, Any]] = {}
    for event in events:
        key = str(event.get("input"))
        if event["event"] == "done" and event["outcome"]["status"] == "complete":
            found[key] = event["outcome"]
        elif event["event"] in ("done", "failed", "refused"):
            found.pop(key, None)
    return found


def _is_of(result: dict[str, Any], source: str) -> bool:
    """Whether the input is the one that the product was made of: by size and time. Of one that is
    gone nothing else can be made."""
    return stamp(source) in ((0, 0), tuple(result["source"]))


def is_unchanged(result: dict[str, Any]) -> bool:
    """Whether the product is as it was when it was told of: by size and time, else by its hash."""
    product, path = result["product"], Path(result["output"])
    size, mtime_ns = stamp(str(path))
    if not mtime_ns:
        return False
    if path.is_file() and size != product["bytes"]:
        return False
    return mtime_ns == product["mtime_ns"] or digest(path) == product["sha256"]
