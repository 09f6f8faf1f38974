"""The timeline of the page: for each worker, bars of the inputs that it worked on.

Bars of a worker that overlap (a worker has two blocks in hand, a coordinator many inputs) go into
lanes below each other. Adjacent bars too narrow to be distinguished are drawn as one, so that ten
thousand inputs cost the page no more than a thousand.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from seg_batch.batch.report.rows import IntervalRow, RunReport

WIDTH = 1000.0  # units of the drawing, over the whole time
NARROW = 0.5
TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
MOST_TICKS = 10


@dataclass(frozen=True)
class TimelineBar:
    """``x`` and ``width`` in units of the drawing; ``ended``: how all ``count`` intervals of the
    bar ended; ``title``: the input of the first of them."""

    x: float
    width: float
    ended: str
    title: str
    count: int = 1


def timeline(facts: RunReport) -> dict[str, Any] | None:
    """The drawing, for the template; None where no input was begun.

    ``start``, ``stop``: unix seconds; ``workers``: rows of the report with ``lanes`` of bars, and
    with ``gone`` as place, unix seconds and reason; ``ticks``: place and time; ``away``: ``(x,
    width)`` of times without a coordinator.
    """
    workers, sessions = facts["workers"], facts["sessions"]
    ends = [t for w in workers for s in w["spells"] for t in (s["start"], s["stop"])]
    if not ends:
        return None
    ends += [t for s in sessions for t in (s["begun"], s["last"])]
    start, stop = min(ends), max(ends)
    if stop <= start:
        return None
    scale = WIDTH / (stop - start)
    drawn = []
    for worker in workers:
        gone = worker["gone"]
        place = gone and ((gone["t"] - start) * scale, gone["t"], str(gone["why"]))
        drawn.append({**worker, "lanes": _lanes(worker["spells"], start, scale), "gone": place})
    away = [
        ((a["last"] - start) * scale, (b["begun"] - a["last"]) * scale)
        for a, b in pairwise(sessions)
        if b["begun"] > a["last"]
    ]
    ticks = _ticks(start, stop, scale)
    return {"start": start, "stop": stop, "workers": drawn, "ticks": ticks, "away": away}


def _lanes(intervals: list[IntervalRow], start: float, scale: float) -> list[list[TimelineBar]]:
    """Each interval in the first lane that is free by then."""
    lanes: list[list[TimelineBar]] = []
    free: list[float] = []
    for row in intervals:
        lane = next((k for k, until in enumerate(free) if until <= row["start"]), len(lanes))
        if lane == len(lanes):
            lanes.append([])
            free.append(0.0)
        free[lane] = row["stop"]
        width = (row["stop"] - row["start"]) * scale
        bar = TimelineBar((row["start"] - start) * scale, width, row["ended"], row["input"])
        _put(lanes[lane], bar)
    return lanes


def _put(lane: list[TimelineBar], bar: TimelineBar) -> None:
    """Add the bar, or widen the last one where neither could be distinguished from the other."""
    if lane:
        last = lane[-1]
        close = bar.x - (last.x + last.width) < NARROW / 5
        if close and last.ended == bar.ended and min(last.width / last.count, bar.width) < NARROW:
            width = bar.x + bar.width - last.x
            lane[-1] = TimelineBar(last.x, width, bar.ended, last.title, last.count + 1)
            return
    lane.append(bar)


def _ticks(start: float, stop: float, scale: float) -> list[tuple[float, float]]:
    """Round times of day, ``MOST_TICKS`` at most."""
    step = next((s for s in TICKS if (stop - start) / s <= MOST_TICKS), TICKS[-1])
    first = -(-start // step) * step
    count = int((stop - first) // step) + 1
    times = [first + k * step for k in range(0, count, max(1, count // MOST_TICKS))]
    return [((time - start) * scale, time) for time in times]
