"""``report.html``: one file that opens from disk, fetches nothing, and runs no script but its own."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from jinja2 import Environment

from seg_batch.batch.journal.events import JournalEvent
from seg_batch.batch.report.gallery import Gallery
from seg_batch.batch.report.history import MEANING
from seg_batch.batch.report.rows import InputRow, RunReport
from seg_batch.batch.report.summary import GO_ON
from seg_batch.batch.report.timeline import timeline
from seg_batch.core import units
from seg_batch.core.errors import Exit
from seg_batch.core.resources import PAGES
from seg_batch.io.html import environment

FILTERS = {"shown", "moment", "clock", "duration", "size", "whole", "short"}
FILTERS |= {"share", "number", "day", "counted"}
WRONG = ("refused", "failed", "partial", "unfinished")
MOST_DETAILS = 2000  # inputs whose details are in the page; those of the others are in the JSON
MOST_WRONG = 500
MOST_ROWS = 500  # shown at first: laying out a table of thousands takes a browser seconds

# Of events, as they are counted.
NOUNS = {
    "worker_lost": "lost worker",
    "worker_dropped": "worker sent away",
    "straggler": "straggler",
    "taken_over": "takeover",
    "stopping": "stop",
}

# Key, heading, how it is shown. Every column sorts by its number.
COLUMNS = (
    ("seconds", "Time", units.duration),
    ("voxels_per_s", "Voxels/s", units.number),
    ("tiles", "Tiles", units.whole),
    ("skipped_share", "Skipped", units.share),
    ("promised_bytes", "Promised", units.size),
    ("peak_rss_bytes", "Measured", units.size),
    ("seam_index", "Seam index", units.number),
    ("attempts", "Attempts", units.whole),
    ("warnings", "Warnings", units.whole),
)


def run_page(facts: RunReport, gallery: Gallery) -> str:
    """The HTML of ``report.json`` and the quicklooks, as text."""
    script = (PAGES / "run_report.js").read_text(encoding="utf-8")
    totals, inputs = facts["totals"], facts["inputs"]
    return (
        _templates(_tails(row["input"] for row in inputs))
        .get_template("run_report.html.j2")
        .render(
            facts=facts,
            totals=totals,
            policy=_policy(script),
            script=script,
            style=(PAGES / "run_report.css").read_text(encoding="utf-8"),
            headline=_headline(facts),
            why=_why(facts),
            happened=_happened(facts["events"]),
            wrong=[row for row in inputs if row["status"] in WRONG],
            most_wrong=MOST_WRONG,
            most_rows=MOST_ROWS,
            rows=[_row(i, row) for i, row in enumerate(inputs)],
            columns=COLUMNS,
            most_details=MOST_DETAILS,
            meaning=MEANING,
            places={row["input"]: i for i, row in enumerate(inputs)},
            pictures=[_picture(p) for p in gallery.pictures],
            oriented=any(view.letters for p in gallery.pictures for view in p.views),
            left_out=gallery.left_out,
            timeline=timeline(facts),
            units=[
                u for u in ("hectares", "millilitres") if any(u in c for c in totals["classes"])
            ],
        )
    )


def _templates(tails: dict[str, str]) -> Environment:
    filters = {name: getattr(units, name) for name in FILTERS}
    return environment(**filters, file=lambda path: tails.get(path, str(path)))


def _tails(paths: Iterable[str]) -> dict[str, str]:
    """The last part of each path, and of those that share it as many as tell them apart."""
    found: dict[str, str] = {}
    alike: dict[str, list[str]] = {"": list(dict.fromkeys(map(str, paths)))}
    depth = 0
    while alike:
        depth += 1
        groups = defaultdict(list)
        for path in (path for group in alike.values() for path in group):
            groups["/".join(path.rstrip("/").split("/")[-depth:])].append(path)
        alone = {group[0]: tail for tail, group in groups.items() if len(group) == 1}
        alike = {tail: group for tail, group in groups.items() if len(group) > 1}
        if depth > max((path.count("/") for group in alike.values() for path in group), default=0):
            alone |= {path: path for group in alike.values() for path in group}
            alike = {}
        found |= alone
    return found


def _policy(script: str) -> str:
    """No network at all, and no script but the one whose digest this is."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _headline(facts: RunReport) -> str:
    """What nobody may overlook, in a sentence."""
    counts, total = facts["statuses"], facts["totals"]["inputs"]
    noun = "step" if facts["steps"] else "input"
    missing = total - counts["complete"]
    if missing:
        parts = [f"{n} {status}" for status, n in counts.items() if n and status != "complete"]
        verb = "is" if missing == 1 else "are"
        told = f"{missing} of {total} {noun}s {verb} not complete: {', '.join(parts)}"
    elif facts["verdict"] == "complete":
        return f"All {total} {noun}s are complete" if total > 1 else f"The one {noun} is complete"
    else:
        told = f"{units.counted(total, noun)} complete, and not all were looked at"
    if facts["ended"]:
        return f"{told}; {GO_ON}" if facts["verdict"] == "unfinished" else told
    return f"{told}; the run has not ended: it is still going, or was killed and {GO_ON}"


def _why(facts: RunReport) -> str:
    """Why the run ended where that says more than the headline: of a night that came to its end,
    nothing."""
    last = facts["sessions"][-1] if facts["sessions"] else None
    came = (Exit.COMPLETE,) if facts["steps"] else (Exit.COMPLETE, Exit.PARTIAL)
    return "" if last is None or last["status"] in came else last["why"]


def _happened(events: list[JournalEvent]) -> str:
    """``2 stragglers, 1 stop``."""
    kinds = Counter(event["event"] for event in events)
    return ", ".join(_counted(n, NOUNS[kind]) for kind, n in kinds.items())


def _counted(n: int, noun: str) -> str:
    first, space, rest = noun.partition(" sent")
    return f"{units.counted(n, first)}{space}{rest}"


def _row(place: int, row: InputRow) -> dict[str, Any]:
    values: dict[str, Any] = {**row, "warnings": len(row["warnings"])}
    cells = [(show(values[key]), values[key]) for key, _, show in COLUMNS]
    over = (row["peak_rss_bytes"] or 0) > (row["promised_bytes"] or float("inf"))
    return {"place": place, "told": row, "cells": cells, "over": over}


def _picture(picture: Any) -> dict[str, Any]:
    views = [
        {
            "title": view.title,
            "image": _data("jpeg", view.image),
            "labels": _data("png", view.labels),
            "aspect": f"{max(0.1, min(10.0, view.aspect)):.4f}",
            "width": f"{view.width:.4g}",
            "letters": tuple(view.letters),
            "window": view.window,
        }
        for view in picture.views
    ]
    windows = dict.fromkeys(v["window"] for v in views)
    return {"told": picture, "views": views, "windows": [w for w in windows if w]}


def _data(kind: str, content: bytes | None) -> str:
    """A data URI, or nothing."""
    if content is None:
        return ""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
