"""Spells as a Chrome trace, in the JSON array format: a process per worker, a row per thread that worked at once, a
bar per spell. It names hosts, stages, blocks and the numbers of inputs, and no file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from seg_batch.core.spells import Spell

_US = 1e6


def trace_of(spells: Iterable[tuple[int, Spell]]) -> list[dict[str, Any]]:
    """The events of the trace of spells, each with the number of its input; times are microseconds from the first
    on."""
    spells = sorted(spells, key=lambda pair: (pair[1]["start"], -pair[1]["stop"]))
    zero = spells[0][1]["start"] if spells else 0.0
    rows: dict[str, _Rows] = {}
    for number, each in spells:
        of_worker = rows.setdefault(each["worker"], _Rows(len(rows) + 1))
        block = {"block": each["block"]} if "block" in each else {}
        of_worker.bars.append(
            {
                "name": each["stage"],
                "ph": "X",
                "ts": round((each["start"] - zero) * _US, 1),
                "dur": round((each["stop"] - each["start"]) * _US, 1),
                "pid": of_worker.pid,
                "tid": of_worker.place(each),
                "args": {"input": number, **block},
            }
        )
    names = [
        {"name": "process_name", "ph": "M", "pid": of.pid, "tid": 0, "args": {"name": worker}}
        for worker, of in rows.items()
    ]
    return [*names, *(bar for of in rows.values() for bar in of.bars)]


@dataclass
class _Rows:
    """The rows of one worker. Threads come and go, one for each of many inputs: a row is taken again when it is
    free. ``ends``: until when each row is taken; ``holders``: the row and the end of each thread's outermost spell."""

    pid: int
    bars: list[dict[str, Any]] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    holders: dict[int, tuple[int, float]] = field(default_factory=dict)

    def place(self, each: Spell) -> int:
        """The number of its row, from 1."""
        row, end = self.holders.get(each["thread"], (0, 0.0))
        if each["stop"] > end:
            free = (n for n, end in enumerate(self.ends, 1) if end <= each["start"])
            row = next(free, len(self.ends) + 1)
            self.ends[row - 1 : row] = [each["stop"]]
            self.holders[each["thread"]] = row, each["stop"]
        return row
