"""Who worked on what, and when: lanes of bars for the page.

Bars of a worker that overlap (a worker has two blocks in hand, a coordinator many inputs) go into
lanes below each other. Bars too narrow to be seen apart are drawn as one, so that ten thousand
inputs cost the page no more than a thousand.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from seg_batch.batch.report.rows import GoneRow, RunReport, SpellRow

WIDTH = 1000.0  # units of the drawing, over the whole time
NARROW = 0.5
TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
MOST_TICKS = 10


@dataclass(frozen=True)
class TimelineBar:
    """``x`` and ``width`` in units of the drawing; ``ended``: as all ``count`` spells that it stands
    for; ``title``: the input of the first of them."""

    x: float
    width: float
    ended: str
    title: str
    count: int = 1


@dataclass(frozen=True)
class Lanes:
    """A worker's lanes of bars, how long it was busy in seconds, and its longest gap. ``gone``: when it
    was lost or sent away, as its place and in unix seconds, and why."""

    worker: str
    lanes: tuple[tuple[TimelineBar, ...], ...]
    busy_s: float
    longest_gap_s: float
    gone: tuple[float, float, str] | None = None


@dataclass(frozen=True)
class Timeline:
    """``start`` and ``stop`` in unix seconds; ``ticks``: place and time; ``away``: where no
    coordinator ran, ``(x, width)``."""

    start: float
    stop: float
    workers: tuple[Lanes, ...]
    ticks: tuple[tuple[float, float], ...]
    away: tuple[tuple[float, float], ...]


def timeline(facts: RunReport) -> Timeline | None:
    """The drawing; None where nothing was begun."""
    spells = [spell for worker in facts["workers"] for spell in worker["spells"]]
    sessions = facts["sessions"]
    ends = [t for s in spells for t in (s["start"], s["stop"])]
    ends += [t for s in sessions for t in (s["begun"], s["last"])]
    if not spells or max(ends) <= min(ends):
        return None
    start, stop = min(ends), max(ends)
    scale = WIDTH / (stop - start)
    workers = tuple(
        Lanes(
            w["worker"],
            _lanes(w["spells"], start, scale),
            w["busy_s"],
            w["longest_gap_s"],
            _gone(w["gone"], start, scale),
        )
        for w in facts["workers"]
    )
    away = tuple(
        ((a["last"] - start) * scale, (b["begun"] - a["last"]) * scale)
        for a, b in pairwise(sessions)
        if b["begun"] > a["last"]
    )
    return Timeline(start, stop, workers, _ticks(start, stop, scale), away)


def _gone(told: GoneRow | None, start: float, scale: float) -> tuple[float, float, str] | None:
    return ((told["t"] - start) * scale, told["t"], str(told["why"])) if told else None


def _lanes(
    spells: list[SpellRow], start: float, scale: float
) -> tuple[tuple[TimelineBar, ...], ...]:
    """Each spell in the first lane that is free by then."""
    lanes: list[list[TimelineBar]] = []
    free: list[float] = []
    for spell in spells:
        lane = next((k for k, until in enumerate(free) if until <= spell["start"]), len(lanes))
        if lane == len(lanes):
            lanes.append([])
            free.append(0.0)
        free[lane] = spell["stop"]
        width = (spell["stop"] - spell["start"]) * scale
        bar = TimelineBar((spell["start"] - start) * scale, width, spell["ended"], spell["input"])
        _put(lanes[lane], bar)
    return tuple(map(tuple, lanes))


def _put(lane: list[TimelineBar], bar: TimelineBar) -> None:
    """Add the bar, or widen the last one where neither could be told from the other."""
    if lane:
        last = lane[-1]
        close = bar.x - (last.x + last.width) < NARROW / 5
        if close and last.ended == bar.ended and min(last.width / last.count, bar.width) < NARROW:
            width = bar.x + bar.width - last.x
            lane[-1] = TimelineBar(last.x, width, bar.ended, last.title, last.count + 1)
            return
    lane.append(bar)


def _ticks(start: float, stop: float, scale: float) -> tuple[tuple[float, float], ...]:
    """Round times of day, ``MOST_TICKS`` at most."""
    step = next((s for s in TICKS if (stop - start) / s <= MOST_TICKS), TICKS[-1])
    first = -(-start // step) * step
    count = int((stop - first) // step) + 1
    every = max(1, count // MOST_TICKS)
    return tuple(((first + k * step - start) * scale, first + k * step) for k in range(count))[
        ::every
    ]
