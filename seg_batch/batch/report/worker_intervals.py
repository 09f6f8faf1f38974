"""Who worked when. An input of one block is done by one worker; of one of several, the report beside
its product tells which worker was at which block, while a coordinator led them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from seg_batch.batch.journal.events import JournalEvent
from seg_batch.batch.journal.status import BlockDone
from seg_batch.batch.report.history import Interval, RunHistory
from seg_batch.batch.report.rows import InputRow, WorkerRow

LEADING = " (leading)"
GONE = ("worker_lost", "worker_dropped")


def workers(
    night: RunHistory, rows: list[InputRow], blocks: Mapping[str, Sequence[BlockDone]]
) -> list[WorkerRow]:
    """One row per worker. ``rows``: of the inputs, for where the products' own reports are; ``blocks``: of
    those without.
    """
    large = {row["input"]: row for row in rows if row["blocks"].get("total", 1) > 1}
    per: dict[str, list[Interval]] = {}
    for spell in night.spells:
        leading = LEADING if spell.input in large else ""
        per.setdefault(spell.worker + leading, []).append(spell)
    begins = [session.start for session in night.sessions]
    whole = (min(begins), night.sessions[-1].stop) if begins else (0.0, 0.0)
    told = [spell for row in large.values() for spell in _blocks(row, *whole)]
    told += [_within(key, b.worker, b.began, b.at, *whole) for key in blocks for b in blocks[key]]
    for spell in told:
        if spell.worker and spell.start <= spell.stop:
            per.setdefault(spell.worker, []).append(spell)
    gone = {str(one["worker"]): one for one in night.markers if one["event"] in GONE}
    for worker in gone:
        per.setdefault(worker, [])
    return [_worker(name, per[name], begins, gone.get(name)) for name in sorted(per)]


def _blocks(row: InputRow, first: float, last: float) -> Iterator[Interval]:
    try:
        found = json.loads(Path(row["report"] or "").read_text(encoding="utf-8"))["spells"]
        for worker, times in found.items():
            for start, stop in times:
                yield _within(row["input"], str(worker), float(start), float(stop), first, last)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return  # moved away since, or written by an earlier version


def _within(
    key: str, worker: str, start: float, stop: float, first: float, last: float
) -> Interval:
    """In the time that the journal tells of: a worker's clock may be another."""
    return Interval(key, worker, max(first, start), min(last, stop), "done")


def _worker(
    name: str, spells: list[Interval], begins: list[float], gone: JournalEvent | None
) -> WorkerRow:
    spells = sorted(spells, key=lambda s: (s.start, s.stop, s.input))
    busy_s, longest_gap_s = _busy(spells, begins)
    return {
        "worker": name,
        "busy_s": busy_s,
        "longest_gap_s": longest_gap_s,
        "gone": {"t": gone["t"], "why": gone["why"]} if gone else None,
        "spells": [
            {"input": s.input, "start": s.start, "stop": s.stop, "ended": s.ended} for s in spells
        ],
    }


def _busy(spells: list[Interval], begins: list[float]) -> tuple[float, float]:
    """Seconds at work, and the longest gap; one in which no coordinator ran does not count."""
    merged: list[list[float]] = []
    for spell in spells:
        if merged and spell.start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], spell.stop)
        else:
            merged.append([spell.start, spell.stop])
    gaps = [
        b[0] - a[1]
        for a, b in pairwise(merged)
        if not any(a[1] < begun <= b[0] for begun in begins)
    ]
    return sum(b - a for a, b in merged), max(gaps, default=0.0)
