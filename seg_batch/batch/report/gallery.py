"""The quicklooks of a run, limited in number, bytes and time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_batch.batch.report.quicklook import PlaneView, draw_quicklook
from seg_batch.batch.report.rows import InputRow, RunReport
from seg_batch.io.sources.protocol import one_line

MOST = 60
SLOWEST = 10
NOT_COMPLETE = 30
BYTES = 6 << 20  # of pictures; base64 takes a third more in the page
SECONDS = 180.0


@dataclass(frozen=True)
class Picture:
    """The quicklook of one input; ``why``: the reason where it could not be drawn."""

    input: str
    views: tuple[PlaneView, ...] = ()
    classes: tuple[dict[str, Any], ...] = ()
    why: str = ""


@dataclass(frozen=True)
class Gallery:
    """``pictures`` in the order of the table; ``left_out``: number of products without one."""

    pictures: tuple[Picture, ...]
    left_out: int


def gallery(facts: RunReport) -> Gallery:
    """Pictures of inputs that are not complete, then the slowest, then the others in order."""
    rows = {row["input"]: row for row in facts["inputs"]}
    drawable = [
        row for row in facts["inputs"] if row["status"] in ("complete", "partial", "failed")
    ]
    drawn: dict[str, Picture] = {}
    left, until = BYTES, time.monotonic() + SECONDS
    for key in _order(facts, drawable):
        if left <= 0 or time.monotonic() > until:
            break
        drawn[key] = _picture(rows[key])
        left -= sum(len(v.image or b"") + len(v.labels or b"") for v in drawn[key].views)
    pictures = tuple(drawn[key] for key in rows if key in drawn)
    return Gallery(pictures, len(drawable) - len(pictures))


def _order(facts: RunReport, drawable: list[InputRow]) -> Iterator[str]:
    """Keys in order of interest, each once, ``MOST`` in total."""
    wanted = [r["input"] for r in drawable if r["status"] != "complete"][:NOT_COMPLETE]
    known = {row["input"] for row in drawable}
    wanted += [key for key in facts["slowest"][:SLOWEST] if key in known]
    wanted += [r["input"] for r in drawable]
    yield from list(dict.fromkeys(wanted))[:MOST]


def _picture(row: InputRow) -> Picture:
    """The picture of one row, or the error in its place: the input may be gone or damaged by now,
    and a library may raise anything on it."""
    try:
        report, why = _report(row), ""
        background = report.get("background")
        classes = tuple(c for c in report.get("classes", ()) if c["id"] != background)
        labels = None if row["status"] == "failed" else row["output"]
        try:
            views = draw_quicklook(report.get("input", row["input"]), labels, report)
        except Exception as error:
            if row["status"] == "failed":
                raise
            why = f"the image is missing: {one_line(error)}"
            views = draw_quicklook(None, labels, report)
        return Picture(row["input"], views, classes, why)
    except Exception as error:
        return Picture(row["input"], why=one_line(error))


def _report(row: InputRow) -> dict[str, Any]:
    """The report beside the product; empty for an input without one."""
    if row["report"] is None or row["status"] == "failed":
        return {}
    report = json.loads(Path(row["report"]).read_text(encoding="utf-8"))
    return report if isinstance(report, dict) else {}
