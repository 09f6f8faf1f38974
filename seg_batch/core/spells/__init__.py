"""Spells: what a thread did, from when to when. They are kept where a profile was asked for, and nowhere else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import NotRequired, TypedDict

from seg_batch.core.hardware import here


class Spell(TypedDict):
    """``start``, ``stop``: unix seconds by the clock of the ``worker``, ``host:pid``. ``thread``: of that process.
    ``block``: the one that was worked at."""

    stage: str
    start: float
    stop: float
    worker: str
    thread: int
    block: NotRequired[str]


@dataclass(frozen=True)
class _Record:
    """``shift``: from the clock that never steps to unix seconds, one for all, so that spells nest."""

    spells: list[Spell]
    shift: float


_record: ContextVar[_Record | None] = ContextVar("record", default=None)


@contextmanager
def recorded(wanted: bool) -> Iterator[list[Spell]]:
    """The spells of this thread within, as they end; none unless ``wanted``."""
    record = _Record([], time.time() - time.perf_counter())
    before = _record.set(record if wanted else None)
    try:
        yield record.spells
    finally:
        _record.reset(before)


@contextmanager
def spell(stage: str) -> Iterator[None]:
    """A spell of this stage, where spells are recorded. Also a decorator of functions."""
    record = _record.get()
    if record is None:
        yield
        return
    start = time.perf_counter()
    try:
        yield
    finally:
        stop = time.perf_counter()
        record.spells.append(
            {
                "stage": stage,
                "start": start + record.shift,
                "stop": stop + record.shift,
                "worker": here(),
                "thread": threading.get_ident(),
            }
        )


def add(spells: Iterable[Spell], block: str) -> None:
    """Add those of a worker, at a block, to what is recorded here."""
    record = _record.get()
    if record is not None:
        record.spells.extend({**each, "block": block} for each in spells)
