"""``report.html``: one file that opens from disk, fetches nothing, and runs its own script only."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import Any

from seg_batch.batch.journal.names import image_words, input_name
from seg_batch.batch.report.footprint_map import footprint_map
from seg_batch.batch.report.gallery import Gallery, Picture
from seg_batch.batch.report.history import MEANING
from seg_batch.batch.report.rows import InputRow, RunReport
from seg_batch.batch.report.sizes import SizeColumn, size_columns, size_tables
from seg_batch.batch.report.summary import GO_ON
from seg_batch.batch.report.timeline import timeline
from seg_batch.core import units
from seg_batch.core.errors import Exit
from seg_batch.core.resources import PAGES
from seg_batch.inference.report import SIZE_UNITS
from seg_batch.io.html import environment

FILTERS = {"shown", "moment", "clock", "duration", "size", "whole", "short"}
FILTERS |= {"share", "number", "day", "counted"}
WRONG = ("refused", "failed", "partial", "unfinished")
MOST_DETAILS = 2000  # inputs whose details are in the page; those of all are in the JSON
MOST_WRONG = 500
MOST_ODD = 6  # classes of an input; those of all are in the JSON
MOST_ROWS = 500  # shown at first: laying out a table of thousands takes a browser seconds

# Event -> the noun that counts it.
NOUNS = {
    "worker_lost": "lost worker",
    "worker_dropped": "worker sent away",
    "straggler": "straggler",
    "taken_over": "takeover",
    "stopping": "stop",
}

# Key, heading, formatter. Every column sorts by its number. The sizes of classes stand after the first.
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
    """The HTML of a report and its quicklooks."""
    script = (PAGES / "run_report.js").read_text(encoding="utf-8")
    totals, inputs = facts["totals"], facts["inputs"]
    filters = {name: getattr(units, name) for name in FILTERS}
    names = _names(inputs)
    kinds = Counter(event["event"] for event in facts["events"])
    sizes, sizes_left_out = size_columns(inputs)
    return (
        environment(**filters, file=lambda path: names.get(path, str(path)))
        .get_template("run_report.html.j2")
        .render(
            facts=facts,
            totals=totals,
            policy=_policy(script),
            script=script,
            style=(PAGES / "run_report.css").read_text(encoding="utf-8"),
            headline=_headline(facts),
            why=_why(facts),
            happened=", ".join(_counted(n, NOUNS[kind]) for kind, n in kinds.items()),
            wrong=[row for row in inputs if row["status"] in WRONG],
            review=[row for row in inputs if row["review"]],
            odd=[row for row in inputs if row["odd_sizes"]],
            most_odd=MOST_ODD,
            most_wrong=MOST_WRONG,
            most_rows=MOST_ROWS,
            rows=[_row(i, row, sizes) for i, row in enumerate(inputs)],
            columns=COLUMNS,
            sizes=sizes,
            sizes_left_out=sizes_left_out,
            tables=[*size_tables(inputs)],
            map=footprint_map(inputs),
            most_details=MOST_DETAILS,
            meaning=MEANING,
            places={row["input"]: i for i, row in enumerate(inputs)},
            pictures=[_picture(p, gallery.windows) for p in gallery.pictures],
            legends=gallery.legends,
            windows=gallery.windows,
            oriented=any(view.letters for p in gallery.pictures for view in p.views),
            left_out=gallery.left_out,
            timeline=timeline(facts),
            units={u: s for u, s in SIZE_UNITS.items() if any(u in c for c in totals["classes"])},
        )
    )


def _names(inputs: list[InputRow]) -> dict[str, str]:
    """What each input is called: the shortest unique tail of its path, a series as people know it."""
    tails = _tails(row["input"] for row in inputs)
    names = {row["input"]: input_name(tails[row["input"]], row["image"]) for row in inputs}
    counts = Counter(names.values())
    return {
        key: name if counts[name] == 1 else input_name(tails[key]) for key, name in names.items()
    }


def _tails(paths: Iterable[str]) -> dict[str, str]:
    """The shortest unique tail of each path: as many of its last parts as no other path shares."""
    tails: dict[str, str] = {}
    left, depth = list(dict.fromkeys(map(str, paths))), 0
    while left:
        depth += 1
        cut = {path: "/".join(path.rstrip("/").split("/")[-depth:]) for path in left}
        counts = Counter(cut.values())
        tails |= {path: tail for path, tail in cut.items() if counts[tail] == 1}
        left = [path for path in left if path not in tails]
        if depth > max((path.count("/") for path in left), default=0):
            return tails | {path: path for path in left}
    return tails


def _policy(script: str) -> str:
    """The content security policy: no network, and only the script with this digest."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _headline(facts: RunReport) -> str:
    """The result of the run, in one sentence."""
    counts, total = facts["statuses"], facts["totals"]["inputs"]
    noun = "step" if facts["steps"] else "input"
    missing = total - counts["complete"]
    if missing:
        parts = [f"{n} {status}" for status, n in counts.items() if n and status != "complete"]
        verb = "is" if missing == 1 else "are"
        sentence = f"{missing} of {total} {noun}s {verb} not complete: {', '.join(parts)}"
        review = facts["totals"]["to_review"]
        sentence += f"; {review} to review" if review else ""
    elif facts["verdict"] == "complete":
        sentence = (
            f"All {total} {noun}s are complete" if total > 1 else f"The one {noun} is complete"
        )
        review = facts["totals"]["to_review"]
        return f"{sentence}, {review} of them to review" if review else sentence
    else:
        sentence = f"{units.counted(total, noun)} complete, and not all were looked at"
    if facts["ended"]:
        return f"{sentence}; {GO_ON}" if facts["verdict"] == "unfinished" else sentence
    return f"{sentence}; the run has not ended: it is still going, or was killed and {GO_ON}"


def _why(facts: RunReport) -> str:
    """Why the run ended; empty where it came to its end, which the headline says."""
    last = facts["sessions"][-1] if facts["sessions"] else None
    came = (Exit.COMPLETE,) if facts["steps"] else (Exit.COMPLETE, Exit.PARTIAL)
    return "" if last is None or last["status"] in came else last["why"]


def _counted(n: int, noun: str) -> str:
    """``2 stragglers``, ``1 worker sent away``."""
    first, space, rest = noun.partition(" sent")
    return f"{units.counted(n, first)}{space}{rest}"


def _row(place: int, row: InputRow, sizes: list[SizeColumn]) -> dict[str, Any]:
    """``image``: what it is, in words; ``cells``: text, number, kind, and what is odd of each, in the order of the table."""
    values: dict[str, Any] = {**row, "warnings": len(row["warnings"])}
    first, *work = [(show(values[key]), values[key], key) for key, _, show in COLUMNS]
    cells = [(*first, ""), *((*c.cell(row), "sizes", c.odd(row)) for c in sizes)]
    cells += [(*cell, "") for cell in work]
    over = (row["peak_rss_bytes"] or 0) > (row["promised_bytes"] or float("inf"))
    image = image_words(row["image"])
    return {"place": place, "told": row, "image": image, "cells": cells, "over": over}


def _picture(picture: Picture, shared: tuple[str, ...]) -> dict[str, Any]:
    """``windows``: those of its own, in words."""
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
    windows = dict.fromkeys(str(v["window"]) for v in views)
    return {
        "told": picture,
        "views": views,
        "windows": [w for w in windows if w and w not in shared],
    }


def _data(kind: str, content: bytes | None) -> str:
    """A data URI; empty where there is no picture."""
    if content is None:
        return ""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
