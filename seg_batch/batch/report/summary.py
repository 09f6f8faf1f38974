"""The values of ``report.json``: per input, in total, and over time."""

from __future__ import annotations

from collections import Counter
from operator import itemgetter
from pathlib import Path
from typing import Any

from seg_batch.batch.journal import InputRecord
from seg_batch.batch.journal.events import InputFacts, InputResult
from seg_batch.batch.journal.state import ENDED
from seg_batch.batch.report.history import STATUSES, RunHistory, report_status
from seg_batch.batch.report.rows import (
    BlockRow,
    ClassTotals,
    InputRow,
    ReportTotals,
    RunReport,
    SessionRow,
    Verdict,
)
from seg_batch.batch.report.sizes import mark_odd_sizes
from seg_batch.batch.report.worker_intervals import workers
from seg_batch.batch.summaries import BlocksOnDisk
from seg_batch.core.errors import Exit
from seg_batch.core.text import Once
from seg_batch.core.versions import package_version
from seg_batch.inference.report import SIZE_UNITS

SLOWEST = 10
GO_ON = "the same command goes on"


def run_report(history: RunHistory, name: str, settings: dict[str, Any]) -> RunReport:
    """``report.json`` without ``steps``. ``settings``: the part of the workflow that the page
    shows. In a workflow of steps the inputs are its steps."""
    on_disk = BlocksOnDisk()
    # Blocks on disk that no report lists yet.
    open_inputs = (record for record in history.inputs if report_status(record) == "unfinished")
    blocks = {record.key: on_disk(record) for record in open_inputs if record.blocks > 1}
    spent: dict[str, float] = {}
    for interval in history.intervals:
        spent[interval.input] = spent.get(interval.input, 0.0) + interval.stop - interval.start
    inputs = [
        _input(record, history, spent.get(record.key, 0.0), len(blocks.get(record.key, ())))
        for record in history.inputs
    ]
    inputs.sort(key=_urgency)
    mark_odd_sizes(inputs)
    once = Once()
    for row in inputs:
        row["warnings"] = once.left(row["warnings"])
    counts = Counter(row["status"] for row in inputs)
    timed = [(-row["seconds"], row["input"]) for row in inputs if row["seconds"] is not None]
    return {
        "segbatch": package_version(),
        "name": name,
        "verdict": _verdict(history, counts),
        "ended": bool(history.sessions) and history.sessions[-1]["ended"],
        "statuses": {status: counts.get(status, 0) for status in STATUSES},
        "sessions": list(history.sessions),
        "totals": _totals(history, inputs),
        "inputs": inputs,
        "steps": [],
        "slowest": [key for _, key in sorted(timed, key=itemgetter(0))[:SLOWEST]],
        "workers": workers(history, inputs, blocks),
        "events": list(history.markers),
        "workflow": settings,
    }


def _urgency(row: InputRow) -> tuple[int, bool]:
    """What is looked at first: what went wrong, then what is to review, then what is not done yet."""
    place = STATUSES.index(row["status"])
    review = row["status"] == "complete" and bool(row["review"])
    return (STATUSES.index("unfinished") if review else place), not review


def _verdict(history: RunHistory, counts: Counter[str]) -> Verdict:
    """``unfinished``: there is work left, or the journal has no end of the run."""
    last = history.sessions[-1] if history.sessions else None
    if last is not None and last["status"] == Exit.COMPLETE and set(counts) == {"complete"}:
        return "complete"
    stopped = last is None or last["status"] in (None, Exit.STOPPED)
    left = counts["waiting"] or counts["unfinished"] or stopped
    return "unfinished" if left else "not complete"


def _input(record: InputRecord, history: RunHistory, spent: float, on_disk: int) -> InputRow:
    """One row. Numbers are those of the product's report where there is one, else None. ``spent``:
    seconds of all attempts, since the report covers the last one only; ``on_disk``: blocks."""
    state = report_status(record)
    result: InputResult = record.outcome if state in ("complete", "partial") else {}
    facts, made = record.facts, result.get("product")
    seconds = round(spent, 3) if result and spent else result.get("seconds")
    voxels = facts.get("voxels")
    return {
        "input": record.key,
        "status": state,
        "error": _unfinished(record, history, on_disk) or _error(record, result),
        "attempts": record.attempts,
        "retries": history.retried.get(record.key, []),
        "workers": sorted(result.get("workers") or ([record.worker] if record.worker else [])),
        "stopped": record.since if state in ENDED else None,
        "seconds": seconds,
        "estimated_s": facts.get("seconds_estimate"),
        "stages_s": {k: v for k, v in (result.get("stages_s") or {}).items() if k != "total"},
        "kind": facts.get("kind"),
        "extent": facts.get("extent"),
        "image": facts.get("image") or {},
        "voxels": voxels,
        "voxels_per_s": voxels / seconds if voxels and seconds else None,
        "tiles": result.get("tiles"),
        "tiles_skipped": result.get("tiles_skipped"),
        "skipped_share": _skipped(result),
        "blocks": _blocks(record, result, on_disk),
        "promised_bytes": result.get("promised_bytes") or facts.get("promised_bytes"),
        "peak_rss_bytes": result.get("peak_rss_bytes"),
        "classes": result.get("classes") or [],
        "background": result.get("background"),
        "odd_sizes": [],
        "footprint": facts.get("footprint"),
        "seam_index": result.get("seam_index"),
        "warnings": [*_warnings(facts, result), *_changed(result)],
        "review": result.get("review") or [],
        "failures": result.get("failures") or [],
        "model": facts.get("model"),
        "output": result.get("output") or facts.get("output"),
        "report": result.get("report"),
        "product": {**made} if made else {"bytes": None, "sha256": None},
    }


def _blocks(record: InputRecord, result: InputResult, done: int) -> BlockRow:
    """Counts of the result, else of the plan; none for an input that was not surveyed."""
    if blocks := result.get("blocks"):
        return {**blocks}
    return {"total": record.blocks, "done": done} if record.facts else {}


def _unfinished(record: InputRecord, history: RunHistory, done: int) -> str:
    """Why an input is unfinished, and what to do; empty for every other status."""
    if report_status(record) != "unfinished":
        return ""
    last = history.sessions[-1] if history.sessions else None
    if last is not None and last["ended"]:
        why = "stopped before its end" + (f" ({last['why']})" if last["why"] else "")
    else:
        why = "no end is told: it is still going, or was killed"
    blocks = f", {done} of {record.blocks} blocks are on disk" if record.blocks > 1 else ""
    return f"{why}{blocks}" if GO_ON in why else f"{why}{blocks}: {GO_ON}"


def _error(record: InputRecord, result: InputResult) -> str:
    """Why an input is not complete; for a partial result how much is missing, and where first."""
    if record.status == "complete":
        return ""
    if not result:
        return record.error or ""
    if "why" in result:  # of a step
        return str(result["why"])
    failures, blocks = result.get("failures"), result.get("blocks")
    first = f", the first at {failures[0]['box']}: {failures[0]['error']}" if failures else ""
    failed = f"{blocks['failed']} of {blocks['total']}" if blocks else "? of ?"
    return f"{failed} blocks failed{first}"


def _skipped(result: InputResult) -> float | None:
    tiles, skipped = result.get("tiles"), result.get("tiles_skipped")
    if tiles is None or skipped is None or not tiles + skipped:
        return None
    return float(skipped / (tiles + skipped))


def _warnings(facts: InputFacts, result: InputResult) -> list[str]:
    both = [*(facts.get("warnings") or []), *(result.get("warnings") or [])]
    return list(dict.fromkeys(map(str, both)))


def _changed(result: InputResult) -> list[str]:
    """A warning where the product was moved or changed its size: a report may be days late."""
    if "output" not in result:
        return []
    path = Path(result["output"])
    if path.is_dir():
        return []  # a Zarr store: ``segbatch verify`` reads its chunks
    if not path.is_file():
        return ["the product is no longer where it was written"]
    if path.stat().st_size == result["product"]["bytes"]:
        return []
    return ["the product has changed since it was written: run segbatch verify on it"]


def _totals(history: RunHistory, inputs: list[InputRow]) -> ReportTotals:
    done = [row for row in inputs if row["status"] in ("complete", "partial")]
    seconds = sum(s["last"] - s["begun"] for s in history.sessions)
    worked = sum(s["last"] - s["begun"] for s in history.sessions if _has_worked(s, history))
    on_disk = sum(map(_voxels_on_disk, inputs))
    voxels = sum(row["voxels"] or 0 for row in done)
    kinds = Counter(event["event"] for event in history.markers)
    return {
        "inputs": len(inputs),
        "seconds": round(seconds, 3),
        "voxels": voxels,
        "voxels_per_s": round((voxels + on_disk) / worked, 3) if worked else None,
        "tiles": sum(row["tiles"] or 0 for row in done),
        "tiles_skipped": sum(row["tiles_skipped"] or 0 for row in done),
        "blocks": _sums(row["blocks"] for row in done),
        "stages_s": _sums(row["stages_s"] for row in done),
        "promised_bytes": max((row["promised_bytes"] or 0 for row in done), default=0),
        "peak_rss_bytes": max((row["peak_rss_bytes"] or 0 for row in done), default=0),
        "product_bytes": sum(row["product"].get("bytes") or 0 for row in done),
        "retries": sum(len(row["retries"]) for row in inputs),
        "workers_lost": kinds["worker_lost"],
        "workers_dropped": kinds["worker_dropped"],
        "stragglers": kinds["straggler"],
        "warnings": sum(len(row["warnings"]) for row in inputs),
        "to_review": sum(bool(row["review"]) for row in inputs),
        "classes": _classes(done),
    }


def _voxels_on_disk(row: InputRow) -> float:
    """Voxels in the blocks on disk of an unfinished input."""
    if row["status"] != "unfinished" or not row["blocks"]:
        return 0.0
    return (row["voxels"] or 0) * float(row["blocks"]["done"] / row["blocks"]["total"])


def _has_worked(session: SessionRow, history: RunHistory) -> bool:
    """False for a command that had nothing left to do: it has no speed."""
    begun, last = session["begun"], session["last"]
    return any(begun <= interval.start <= last for interval in history.intervals)


def _sums(rows: Any) -> dict[str, float]:
    total: Counter[str] = Counter()
    for row in rows:
        total.update({k: v for k, v in row.items() if isinstance(v, int | float)})
    return {k: round(v, 6) for k, v in total.items()}


def _classes(done: list[InputRow]) -> list[ClassTotals]:
    """Totals per model and class, largest first within a model."""
    totals: dict[tuple[str, int, str], ClassTotals] = {}
    for row in done:
        for c in row["classes"]:
            key = (str(row["model"]), c["id"], c["name"])
            empty: ClassTotals = {
                "model": row["model"],
                "voxels": 0,
                "inputs": 0,
                "id": c["id"],
                "name": c["name"],
                "colour": None,
            }
            total = totals.setdefault(key, empty)
            total["colour"] = c.get("colour")
            total["voxels"] += c["voxels"]
            total["inputs"] += bool(c["voxels"])
            for unit in SIZE_UNITS:
                if unit in c:
                    total[unit] = round(total.get(unit, 0.0) + c[unit], 6)
    return sorted(totals.values(), key=lambda c: (str(c["model"]), -c["voxels"]))
