"""The events of a run, a training or an evaluation: frozen values for callbacks (``core.callbacks``).

A callback ignores the events that it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from seg_batch.core.spells import Spell


@dataclass(frozen=True)
class Event:
    """Base class. ``logged``: the event's name in the log of a run, where its fields are written; if
    empty, ``batch.run_log`` writes the event in another form, or not at all."""

    logged: ClassVar[str] = ""


@dataclass(frozen=True)
class Stage(Event):
    """The current stage of the work. ``key``, in this and other events: the input of a run, by its path
    as the workflow gives it."""

    logged = "stage"
    text: str
    key: str = ""


@dataclass(frozen=True)
class StepsPlanned(Event):
    """The number of cases or tasks to do."""

    total: int


@dataclass(frozen=True)
class Advanced(Event):
    """``n`` more of the planned cases or tasks are done (tiles, where this process does the work);
    ``text``: the name of the case or task."""

    n: float = 1.0
    text: str | None = None


@dataclass(frozen=True)
class Noted(Event):
    """Lines that stay on the screen."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class TrainingRow(Event):
    """A row of a training's history (see ``nn.training.history``), with the training's limits in
    ``steps`` and ``minutes``, and the samples per step."""

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
    """An input is read and planned; ``resumed``: blocks that were already on disk."""

    blocks: int
    tiles: int
    resumed: int = 0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class BlockEnded(Event):
    """A block of an input of several blocks ended: with its receipt, or with the error of its failure."""

    block: str
    worker: str = ""
    receipt: Mapping[str, Any] | None = None
    error: BaseException | None = None
    key: str = ""


@dataclass(frozen=True)
class Profiled(Event):
    """A prediction ended, well or not, of which a profile was asked for."""

    spells: Sequence[Spell]
    key: str = ""


@dataclass(frozen=True)
class WorkerTrouble(Event):
    """``kind``: ``lost`` or ``dropped`` (the worker), ``straggler`` or ``retried`` (an item on it)."""

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
    """The number of a run's inputs that were inspected."""

    done: int
    total: int


@dataclass(frozen=True)
class RunPlanned(Event):
    """Before the first input: the numbers of all, of done and of refused inputs, and the blocks, tiles
    and seconds of the others."""

    logged = "planned"
    inputs: int = 0
    done: int = 0
    refused: int = 0
    blocks: int = 0
    tiles: int = 0
    seconds_estimate: float = 0.0


@dataclass(frozen=True)
class InputStarted(Event):
    """``facts``: as in the journal's event "surveyed"; ``attempt``: from 1."""

    key: str
    facts: Mapping[str, Any]
    attempt: int = 1


@dataclass(frozen=True)
class InputResumed(Event):
    """The number of blocks that were on disk when an input of several blocks started."""

    logged = "resumed"
    key: str
    blocks: int


@dataclass(frozen=True)
class InputDone(Event):
    """``result``: as in the journal's event "done"."""

    key: str
    result: Mapping[str, Any]


@dataclass(frozen=True)
class InputFailed(Event):
    """``status``: 2 refused, 3 failed; ``worker``: where, if known; ``attempts``: number of failed ones."""

    key: str
    error: str
    status: int
    worker: str = ""
    attempts: int = 1


@dataclass(frozen=True)
class InputRetried(Event):
    """``attempt`` failed, and the next one starts in ``wait_s`` seconds."""

    key: str
    error: str
    wait_s: float
    worker: str = ""
    attempt: int = 1


@dataclass(frozen=True)
class InputWithdrawn(Event):
    """The input was submitted, and cancelled before a worker started it."""

    logged = "withdrawn"
    key: str


@dataclass(frozen=True)
class Stopping(Event):
    """The run was interrupted: it finishes what is in flight."""

    why: str


@dataclass(frozen=True)
class RunEnded(Event):
    status: int
    why: str


@dataclass(frozen=True)
class Idle(Event):
    """A watch waits for inputs; ``text`` describes its state."""

    text: str
