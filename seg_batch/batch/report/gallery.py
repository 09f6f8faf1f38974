"""The quicklooks of a run, limited in number, bytes and time.

Inputs that their model sees by the same numbers are shown by one stretch: a picture that is darker than the others
shows an input that is. Where a model takes mean and deviation of each image, its pictures have windows of their own.
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seg_batch.batch.report.led_back import LedBack
from seg_batch.batch.report.picture import Picture
from seg_batch.batch.report.quicklook import Windows, draw_quicklook, sample
from seg_batch.batch.report.rows import InputRow, RunReport
from seg_batch.io.pictures import Composite, window_of
from seg_batch.io.sources.protocol import one_line

MOST = 60
SLOWEST = 10
NOT_COMPLETE = 30
TO_REVIEW, ODD = 20, 10
BYTES = 6 << 20  # of pictures; base64 takes a third more in the page
SECONDS = 180.0
MEASURED = 8  # inputs of those that share a window


@dataclass(frozen=True)
class Legend:
    """The classes of one model, without its background."""

    model: str
    classes: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Gallery:
    """``pictures`` in the order of the table; ``left_out``: number of products without one; ``legends``: one per
    model; ``windows``: those that several pictures share."""

    pictures: tuple[Picture, ...]
    left_out: int
    legends: tuple[Legend, ...] = ()
    windows: tuple[str, ...] = ()


def gallery(facts: RunReport, table: str | None = None) -> Gallery:
    """Pictures of inputs that are not complete or to review, then of odd sizes, then the slowest, then the others in
    order. ``table``: that of the codes of inputs that are not to be known; without it these are shown by their labels
    alone."""
    led_back = LedBack.by(table)
    rows = {row["input"]: row for row in facts["inputs"]}
    drawable = [
        row for row in facts["inputs"] if row["status"] in ("complete", "partial", "failed")
    ]
    drawn: dict[str, Picture] = {}
    left, until = BYTES, time.monotonic() + SECONDS
    keys = list(_order(facts, drawable))
    reports = {key: led_back(report) for key in keys if (report := _readable(rows[key]))}
    shared = _shared_windows(reports)
    for key in keys:
        if left <= 0 or time.monotonic() > until:
            break
        windows = shared.get(_group_of(reports[key])) if key in reports else None
        drawn[key] = led_back.told(_picture(rows[key], windows, led_back))
        left -= sum(len(v.image or b"") + len(v.labels or b"") for v in drawn[key].views)
    pictures = tuple(drawn[key] for key in rows if key in drawn)
    of_views = Counter(w for p in pictures for w in {v.window for v in p.views} if w)
    return Gallery(
        pictures,
        len(drawable) - len(pictures),
        _legends(reports.values()),
        tuple(words for words, count in of_views.items() if count > 1),
    )


def _legends(reports: Iterable[dict[str, Any]]) -> tuple[Legend, ...]:
    """One per model, by its classes."""
    legends: dict[str, Legend] = {}
    for report in reports:
        classes = tuple(c for c in report["classes"] if c["id"] != report.get("background"))
        drawn = json.dumps([(c["name"], c["colour"]) for c in classes])
        legends.setdefault(drawn, Legend(str(report["model"]["name"]), classes))
    return tuple(legends.values())


def _order(facts: RunReport, drawable: list[InputRow]) -> Iterator[str]:
    """Keys in order of interest, each once, ``MOST`` in total."""
    wanted = [r["input"] for r in drawable if r["status"] != "complete"][:NOT_COMPLETE]
    known = {row["input"] for row in drawable}
    wanted += [r["input"] for r in drawable if r["review"]][:TO_REVIEW]
    wanted += [r["input"] for r in drawable if r["odd_sizes"]][:ODD]
    wanted += [key for key in facts["slowest"][:SLOWEST] if key in known]
    wanted += [r["input"] for r in drawable]
    yield from list(dict.fromkeys(wanted))[:MOST]


def _group_of(report: Mapping[str, Any]) -> str:
    """What inputs have in common that are shown by one stretch; empty where that is not known."""
    plan = report["plan"]
    numbers = plan.get("normaliser")
    facts = [report["model"]["name"], len(plan.get("extent", ())), numbers]
    return json.dumps(facts) if numbers else ""


def _shared_windows(reports: Mapping[str, dict[str, Any]]) -> dict[str, Windows]:
    """The windows of each group of several inputs; ``reports``: those beside the products, by input."""
    groups = defaultdict[str, list[str]](list)
    for key, report in reports.items():
        if group := _group_of(report):
            groups[group].append(key)
    return {
        group: _measured([reports[key] for key in _some(keys)])
        for group, keys in groups.items()
        if len(keys) > 1
    }


def _some(keys: list[str]) -> list[str]:
    """At most ``MEASURED``, evenly spread."""
    return keys[:: max(1, -(-len(keys) // MEASURED))]


def _measured(reports: list[dict[str, Any]]) -> Windows:
    """A window for each way in which the channels of these inputs of one model are shown."""
    model = reports[0]["model"]["name"]
    seen = defaultdict[tuple[str, int], list[Any]](list)
    for report in reports:
        with suppress(Exception):  # gone or damaged: its picture says so
            composite, pictures = sample(report["input"], report)
            seen[composite.words, len(composite.channels)] += pictures
    windows = {}
    for (words, channels), pictures in seen.items():
        window = window_of(pictures, Composite(tuple(range(channels))))
        shared = f"{window.words}, one for all inputs of {model}"
        windows[words, channels] = replace(window, words=shared)
    return windows


def _picture(row: InputRow, windows: Windows | None, led_back: LedBack) -> Picture:
    """The picture of one row, or the error in its place: the input may be gone or damaged by now,
    and a library may raise anything on it."""
    try:
        report, why = led_back(_report(row)), ""
        labels = None if row["status"] == "failed" else row["output"]
        shared = () if windows is None else (windows,)
        try:
            views = draw_quicklook(report.get("input", row["input"]), labels, report, *shared)
        except Exception as error:
            if row["status"] == "failed":
                raise
            why = f"the image is missing: {one_line(error)}"
            views = draw_quicklook(None, labels, report, *shared)
        return Picture(row["input"], views, why)
    except Exception as error:
        return Picture(row["input"], why=one_line(error))


def _report(row: InputRow) -> dict[str, Any]:
    """The report beside the product; empty for an input without one."""
    if row["report"] is None or row["status"] == "failed":
        return {}
    report = json.loads(Path(row["report"]).read_text(encoding="utf-8"))
    return report if isinstance(report, dict) else {}


def _readable(row: InputRow) -> dict[str, Any]:
    """The same; also empty where it can't be read or is not whole."""
    try:
        report = _report(row)
    except (OSError, ValueError):
        return {}
    return report if {"classes", "model", "plan", "input"} <= report.keys() else {}
