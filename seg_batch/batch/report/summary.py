"""Everything the report says, as JSON-ready values: per input, in all, and over time."""

from __future__ import annotations

from collections import Counter
from operator import itemgetter
from pathlib import Path
from typing import Any

from seg_batch.batch.journal import InputRecord
from seg_batch.batch.journal.events import InputFacts, InputResult
from seg_batch.batch.report.history import STATUSES, RunHistory, Session, status
from seg_batch.batch.report.rows import (
    BlockRow,
    ClassTotals,
    InputRow,
    ReportTotals,
    RunReport,
    SessionRow,
    Verdict,
)
from seg_batch.batch.report.worker_intervals import workers
from seg_batch.batch.summaries import BlocksOnDisk
from seg_batch.core.errors import Exit
from seg_batch.core.versions import package_version
from seg_batch.inference.report import SIZE_UNITS, ClassRow

SLOWEST = 10
GO_ON = "the same command goes on"
ENDED = ("refused", "failed", "partial", "complete")


def run_report(night: RunHistory, name: str, settings: dict[str, Any]) -> RunReport:
    """``report.json``. ``settings``: what of the workflow is worth telling. In a workflow of steps these
    are its inputs, and ``steps`` tells more of them."""
    on_disk = BlocksOnDisk()
    blocks = {one.key: on_disk(one) for one in night.inputs if _has_blocks(one)}
    spent: dict[str, float] = {}
    for spell in night.spells:
        spent[spell.input] = spent.get(spell.input, 0.0) + spell.stop - spell.start
    inputs = [
        _input(one, night, spent.get(one.key, 0.0), len(blocks.get(one.key, ())))
        for one in night.inputs
    ]
    inputs.sort(key=lambda row: STATUSES.index(row["status"]))
    counts = Counter(row["status"] for row in inputs)
    timed = [(-row["seconds"], row["input"]) for row in inputs if row["seconds"] is not None]
    return {
        "segbatch": package_version(),
        "name": name,
        "verdict": _verdict(night, counts),
        "ended": night.ended,
        "statuses": {status: counts.get(status, 0) for status in STATUSES},
        "sessions": [_session(session) for session in night.sessions],
        "totals": _totals(night, inputs),
        "inputs": inputs,
        "steps": [],
        "slowest": [key for _, key in sorted(timed, key=itemgetter(0))[:SLOWEST]],
        "workers": workers(night, inputs, blocks),
        "events": list(night.markers),
        "workflow": settings,
    }


def _has_blocks(told: InputRecord) -> bool:
    """Whether it has no report yet that would tell of its blocks on disk."""
    return status(told) == "unfinished" and told.blocks > 1


def _verdict(night: RunHistory, counts: Counter[str]) -> Verdict:
    """``complete``; ``unfinished``: there is work left or no end is told; ``not complete``."""
    last = night.sessions[-1] if night.sessions else None
    if last is not None and last.status == Exit.COMPLETE and set(counts) == {"complete"}:
        return "complete"
    stopped = last is None or last.status in (None, Exit.STOPPED)
    left = counts["waiting"] or counts["unfinished"] or stopped
    return "unfinished" if left else "not complete"


def _session(session: Session) -> SessionRow:
    return {
        "begun": session.start,
        "last": session.stop,
        "ended": session.ended,
        "status": session.status,
        "why": session.why,
        "host": session.host,
        "segbatch": session.version,
    }


def _input(told: InputRecord, night: RunHistory, spent: float, on_disk: int) -> InputRow:
    """One row. Numbers are those of the product's report where there is one, else None. ``spent``:
    seconds of all its attempts, for the report tells of the last only; ``on_disk``: blocks."""
    word = status(told)
    result: InputResult = told.outcome if word in ("complete", "partial") else {}
    facts = told.facts
    seconds = round(spent, 3) if result and spent else result.get("seconds")
    voxels = facts.get("voxels")
    return {
        "input": told.key,
        "status": word,
        "error": _unfinished(told, night, on_disk) or _error(told, result),
        "attempts": told.attempts,
        "retries": list(night.retried.get(told.key, ())),
        "workers": sorted(result.get("workers") or ([told.worker] if told.worker else [])),
        "stopped": told.since if word in ENDED else None,
        "seconds": seconds,
        "estimated_s": facts.get("seconds_estimate"),
        "stages_s": {k: v for k, v in (result.get("stages_s") or {}).items() if k != "total"},
        "kind": facts.get("kind"),
        "extent": facts.get("extent"),
        "voxels": voxels,
        "voxels_per_s": voxels / seconds if voxels and seconds else None,
        "tiles": result.get("tiles"),
        "tiles_skipped": result.get("tiles_skipped"),
        "skipped_share": _skipped(result),
        "blocks": _blocks(told, result, on_disk),
        "promised_bytes": result.get("promised_bytes") or facts.get("promised_bytes"),
        "peak_rss_bytes": result.get("peak_rss_bytes"),
        "classes": result.get("classes") or [],
        "seam_index": result.get("seam_index"),
        "warnings": [*_warnings(facts, result), *_changed(result)],
        "failures": result.get("failures") or [],
        "model": facts.get("model"),
        "output": result.get("output") or facts.get("output"),
        "report": result.get("report"),
        "product": {"bytes": None, "sha256": None, **(result.get("product") or {})},
    }


def _blocks(told: InputRecord, result: InputResult, done: int) -> BlockRow:
    """As the result tells, else as planned; nothing of an input that was not surveyed."""
    if blocks := result.get("blocks"):
        return {**blocks}
    return {"total": told.blocks, "done": done} if told.facts else {}


def _unfinished(told: InputRecord, night: RunHistory, done: int) -> str:
    """Why it has no end, and what is to be done; empty of those that have, or have not begun."""
    if status(told) != "unfinished":
        return ""
    last = night.sessions[-1] if night.sessions else None
    if last is not None and last.ended:
        why = f"stopped before its end ({last.why})" if last.why else "stopped before its end"
    else:
        why = "no end is told: it is still going, or was killed"
    blocks = f", {done} of {told.blocks} blocks are on disk" if told.blocks > 1 else ""
    return f"{why}{blocks}" if GO_ON in why else f"{why}{blocks}: {GO_ON}"


def _error(told: InputRecord, result: InputResult) -> str:
    """Why it is not complete; of a partial result how much is missing and where it begins."""
    if told.status == "complete":
        return ""
    if not result:
        return told.error or ""
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
    """Whether the product still is where it was put, and as large: a report can be made days later."""
    if "output" not in result:
        return []
    path = Path(result["output"])
    if path.is_dir():
        return []  # a Zarr: verify looks into it
    if not path.is_file():
        return ["the product is no longer where it was written"]
    if path.stat().st_size == result["product"]["bytes"]:
        return []
    return ["the product has changed since it was written: run segbatch verify on it"]


def _totals(night: RunHistory, inputs: list[InputRow]) -> ReportTotals:
    done = [row for row in inputs if row["status"] in ("complete", "partial")]
    seconds = sum(s.stop - s.start for s in night.sessions)
    worked = sum(s.stop - s.start for s in night.sessions if _has_worked(s, night))
    on_disk = sum(map(_voxels_on_disk, inputs))
    voxels = sum(row["voxels"] or 0 for row in done)
    kinds = Counter(event["event"] for event in night.markers)
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
        "classes": _classes(done),
    }


def _voxels_on_disk(row: InputRow) -> float:
    """Of an input that has not ended: those in blocks that are done."""
    if row["status"] != "unfinished" or not row["blocks"]:
        return 0.0
    return (row["voxels"] or 0) * float(row["blocks"]["done"] / row["blocks"]["total"])


def _has_worked(session: Session, night: RunHistory) -> bool:
    """A command that found nothing left to do has no speed."""
    return any(session.start <= spell.start <= session.stop for spell in night.spells)


def _sums(rows: Any) -> dict[str, float]:
    total: Counter[str] = Counter()
    for row in rows:
        total.update({k: v for k, v in row.items() if isinstance(v, int | float)})
    return {k: round(v, 6) for k, v in total.items()}


def _classes(done: list[InputRow]) -> list[ClassTotals]:
    """Per model and class what was found in all, largest first within a model."""
    totals: dict[tuple[str, int, str], ClassTotals] = {}
    for row in done:
        for c in row["classes"]:
            key = (str(row["model"]), c["id"], c["name"])
            total = totals.setdefault(key, _no_voxels(row["model"], c))
            total["colour"] = c.get("colour")
            total["voxels"] += c["voxels"]
            total["inputs"] += bool(c["voxels"])
            for unit in SIZE_UNITS:
                if unit in c:
                    total[unit] = round(total.get(unit, 0.0) + c[unit], 6)
    return sorted(totals.values(), key=lambda c: (str(c["model"]), -c["voxels"]))


def _no_voxels(model: str | None, row: ClassRow) -> ClassTotals:
    none: ClassTotals = {
        "model": model,
        "voxels": 0,
        "inputs": 0,
        "id": row["id"],
        "name": row["name"],
        "colour": None,
    }
    return none
