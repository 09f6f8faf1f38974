"""In which order inputs are done, and how many at once.

Largest first: what takes longest must not begin last. An input of one block is *small*: one task, done
whole by one worker. One of several is *large*: its blocks go to all workers, and a thread of the
coordinator leads it. What fits beside what in a worker's memory is decided there (``verbs.room``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from seg_batch.verbs.request import Request

MOST_LED = 32  # large inputs that are led at once, at most
FEWEST_LED = 2  # one is read or written while the other computes


@dataclass(frozen=True, slots=True)
class Item:
    """One input that is to be done. ``attempt``: which this is, from 1."""

    key: str
    request: Request
    blocks: int
    tiles: int
    disk_bytes: int
    seconds: float
    promised_bytes: int
    output: str
    warnings: tuple[str, ...] = ()
    attempt: int = 1

    def __str__(self) -> str:
        return self.key

    @property
    def small(self) -> bool:
        return self.blocks == 1

    def facts(self) -> dict[str, Any]:
        """What a listener is told of it."""
        names = ("blocks", "tiles", "disk_bytes", "promised_bytes", "output", "warnings")
        return {name: getattr(self, name) for name in names} | {"seconds_estimate": self.seconds}


def largest_first(items: Iterable[Item]) -> list[Item]:
    """By the time they are expected to take; equals in the order given."""
    return sorted(items, key=lambda item: -item.seconds)


def rounds(items: Iterable[Item], feared: Mapping[str, int], alone: bool) -> list[list[Item]]:
    """What is done before what else begins: all that nobody fears, then the feared ones, those that were
    in hand at fewer deaths first. ``alone``: each of them by itself, where it can end this process."""
    deaths = sorted(items, key=lambda item: feared.get(item.key, 0))
    found = [list(some) for _, some in groupby(deaths, key=lambda item: feared.get(item.key, 0))]
    if not alone:
        return found
    calm = [some for some in found if some[0].key not in feared]
    return calm + [[item] for some in found for item in some if item.key in feared]


def may_lead(in_hand: Sequence[int], window: int) -> bool:
    """Whether another large input may begin beside those with ``in_hand`` blocks left each: when
    they can't fill the pool's window, or are too few to overlap."""
    if len(in_hand) < FEWEST_LED:
        return True
    return len(in_hand) < MOST_LED and sum(in_hand) < window
