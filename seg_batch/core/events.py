"""What happens in a run, a training, an evaluation, as values for its callbacks (``core.callbacks``).

An event is declared here, sent where it happens, and shown by whoever knows it; all others pass it over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Event:
    """Something that has happened, in plain values. ``logged``: its word in the log of a run, which
    gets its fields; empty: it is written in a way of its own (``batch.run_log``), or not at all."""

    logged: ClassVar[str] = ""


@dataclass(frozen=True)
class Stage(Event):
    """What is done now. ``key``: of which input of a run, by its path as the workflow gives it, as in all
    events that have one."""

    logged = "stage"
    text: str
    key: str = ""


@dataclass(frozen=True)
class StepsPlanned(Event):
    """So many cases or tasks are to be done."""

    total: int


@dataclass(frozen=True)
class Advanced(Event):
    """So much more of what was planned is done: cases, tasks, or tiles where the work is done in this
    process; ``text``: the name of the one that is."""

    n: float = 1.0
    text: str | None = None


@dataclass(frozen=True)
class Noted(Event):
    """Lines to be read later: they stay."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class TrainingRow(Event):
    """A row of the history of a training (see ``nn.training.history``), its limits in ``steps`` and
    ``minutes``, and the samples in a step."""

    step: int
    loss: float
    lr: float
    seconds: float
    wait: float
    scores: dict[str, float] | None
    steps: int
    minutes: float | None = None
    per_step: int = 0


@dataclass(frozen=True)
class BlocksPlanned(Event):
    """One input is read and planned; ``resumed``: blocks that were on disk before."""

    blocks: int
    tiles: int
    resumed: int = 0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class BlockEnded(Event):
    """A block of an input of several: with its receipt, or with the error that it failed for."""

    block: str
    worker: str = ""
    receipt: Mapping[str, Any] | None = None
    error: BaseException | None = None
    key: str = ""


@dataclass(frozen=True)
class WorkerTrouble(Event):
    """``lost`` or ``dropped``: the worker; ``straggler`` or ``retried``: a block or an input on it."""

    kind: str
    worker: str
    why: str


@dataclass(frozen=True)
class PoolOpened(Event):
    logged = "pool"
    pool: str
    workers: int
    dashboard: str | None = None


@dataclass(frozen=True)
class Surveyed(Event):
    """So many inputs of a run were looked at."""

    done: int
    total: int


@dataclass(frozen=True)
class RunPlanned(Event):
    """Before the first input: how many there are, were done before and are refused, and the blocks,
    tiles and seconds of what is still to do."""

    logged = "planned"
    inputs: int = 0
    done: int = 0
    refused: int = 0
    blocks: int = 0
    tiles: int = 0
    seconds_estimate: float = 0.0


@dataclass(frozen=True)
class InputStarted(Event):
    """``facts``: as the journal's event "surveyed" holds them; ``attempt``: 1 for its first try."""

    key: str
    facts: Mapping[str, Any]
    attempt: int = 1


@dataclass(frozen=True)
class InputResumed(Event):
    """So many blocks of an input of several were on disk when it was begun."""

    logged = "resumed"
    key: str
    blocks: int


@dataclass(frozen=True)
class InputDone(Event):
    """``result``: as the journal's event "done" holds it."""

    key: str
    result: Mapping[str, Any]


@dataclass(frozen=True)
class InputFailed(Event):
    """``status``: 2 refused, 3 failed; ``worker``: where, if that is known; ``attempts``: how many failed."""

    key: str
    error: str
    status: int
    worker: str = ""
    attempts: int = 1


@dataclass(frozen=True)
class InputRetried(Event):
    """Its ``attempt`` failed, and it is tried again in ``wait_s``."""

    key: str
    error: str
    wait_s: float
    worker: str = ""
    attempt: int = 1


@dataclass(frozen=True)
class InputWithdrawn(Event):
    """It was handed out, and taken back before anybody began it."""

    logged = "withdrawn"
    key: str


@dataclass(frozen=True)
class Stopping(Event):
    """The run was asked to stop: it finishes what is in hand."""

    why: str


@dataclass(frozen=True)
class RunEnded(Event):
    status: int
    why: str


@dataclass(frozen=True)
class Idle(Event):
    """A watch has nothing in hand; ``text`` says how things stand."""

    text: str
