"""The workers of a run and the intervals in which they worked.

An input of one block is done by one worker. For an input of several blocks, the report beside its
product lists the intervals of each worker, and a coordinator leads them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from seg_batch.batch.journal.events import JournalEvent
from seg_batch.batch.journal.status import BlockDone
from seg_batch.batch.report.history import Interval, RunHistory
from seg_batch.batch.report.rows import InputRow, WorkerRow
from seg_batch.core.files import read_json

LEADING = " (leading)"
GONE = ("worker_lost", "worker_dropped")


def workers(
    history: RunHistory, rows: list[InputRow], blocks: Mapping[str, Sequence[BlockDone]]
) -> list[WorkerRow]:
    """One row per worker. ``rows``: of the inputs, with the paths of the products' reports;
    ``blocks``: on disk of the inputs without a report."""
    large = {row["input"]: row for row in rows if row["blocks"].get("total", 1) > 1}
    per = defaultdict[str, list[Interval]](list)
    for interval in history.intervals:
        per[interval.worker + (LEADING if interval.input in large else "")].append(interval)
    begins = [session["begun"] for session in history.sessions]
    first, last = (min(begins), history.sessions[-1]["last"]) if begins else (0.0, 0.0)
    of_blocks = [interval for row in large.values() for interval in _intervals_in_report(row)]
    of_blocks += [
        Interval(key, b.worker, b.began, b.at, "done") for key, done in blocks.items() for b in done
    ]
    for block in of_blocks:
        # Clipped to the time of the journal: the clock of a worker may differ.
        start, stop = max(first, block.start), min(last, block.stop)
        if block.worker and start <= stop:
            per[block.worker].append(Interval(block.input, block.worker, start, stop, "done"))
    gone = {str(event["worker"]): event for event in history.markers if event["event"] in GONE}
    names = sorted(per.keys() | gone.keys())
    return [_worker(name, per[name], begins, gone.get(name)) for name in names]


def _intervals_in_report(row: InputRow) -> Iterator[Interval]:
    """Those of the blocks; none where the report was moved away, or an earlier version wrote it."""
    try:
        for worker, times in read_json(Path(row["report"] or ""))["spells"].items():
            for start, stop in times:
                yield Interval(row["input"], str(worker), float(start), float(stop), "done")
    except (ValueError, TypeError, KeyError, AttributeError):
        return


def _worker(
    name: str, intervals: list[Interval], begins: list[float], gone: JournalEvent | None
) -> WorkerRow:
    intervals = sorted(intervals, key=lambda s: (s.start, s.stop, s.input))
    busy_s, longest_gap_s = _busy(intervals, begins)
    return {
        "worker": name,
        "busy_s": busy_s,
        "longest_gap_s": longest_gap_s,
        "gone": {"t": gone["t"], "why": gone["why"]} if gone else None,
        "spells": [
            {"input": s.input, "start": s.start, "stop": s.stop, "ended": s.ended}
            for s in intervals
        ],
    }


def _busy(intervals: list[Interval], begins: list[float]) -> tuple[float, float]:
    """Seconds at work, and the longest gap; a gap in which no coordinator ran does not count."""
    merged: list[list[float]] = []
    for interval in intervals:
        if merged and interval.start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], interval.stop)
        else:
            merged.append([interval.start, interval.stop])
    gaps = [
        b[0] - a[1]
        for a, b in pairwise(merged)
        if not any(a[1] < begun <= b[0] for begun in begins)
    ]
    return sum(b - a for a, b in merged), max(gaps, default=0.0)
