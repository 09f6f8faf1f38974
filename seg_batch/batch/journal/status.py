"""How a run stands, told from its folder alone, by any process and at any time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

from seg_batch.batch.journal.events import Journal
from seg_batch.batch.journal.lease import LIMIT_S, LeaseState, holder
from seg_batch.batch.journal.state import (
    ENDED,
    RUNNING,
    WAITING,
    InputRecord,
    State,
    Totals,
    WorkerState,
    fold,
)
from seg_batch.core.errors import Exit, InputError
from seg_batch.core.run_files import JOURNAL, RUNS

SHOWN_FAILURES = 5

ALIVE = ("running", "stopping")


@dataclass(frozen=True)
class BlockDone:
    """A block on disk of an input that has not ended. ``at``, ``began``: unix seconds; ``worker``:
    empty where it is not known."""

    at: float
    began: float
    worker: str = ""


class InHandRow(TypedDict):
    """An input that is being done; ``seconds``: since it was begun."""

    input: str
    blocks_done: int
    blocks: int
    attempt: int
    worker: str | None
    seconds: float


class RunPace(TypedDict):
    """Of a run that goes on or has come to its end; else all are None."""

    seconds: float | None
    inputs_per_hour: float | None
    voxels_per_s: float | None
    left_s: float | None


class RunStatus(RunPace):
    """All of ``segbatch status``. ``inputs``: ``total``, and how many have each status; ``failures``: the
    last ones first."""

    run: str
    state: str
    why: str | None
    owner: dict[str, Any] | None
    inputs: dict[str, int]
    blocks: dict[str, int]
    voxels: dict[str, int]
    retries: int
    stragglers: int
    takeovers: int
    sessions: int
    running: list[InHandRow]
    failures: list[dict[str, Any]]
    workers: list[dict[str, Any]]


BlocksDone = Callable[[InputRecord], Sequence[BlockDone]]


def run_folder(path: Path) -> Path:
    """The run folder that ``path`` is, or the only one of the output folder that ``path`` is.

    InputError when there is none, or more than one to choose from.
    """
    if (path / JOURNAL).exists():
        return path
    found = sorted(journal.parent for journal in path.glob(f"{RUNS}/*/{JOURNAL}"))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(str(folder) for folder in found)
        raise InputError(f"{path} has {len(found)} runs: name one of {names}")
    raise InputError(
        f"{path} is no run folder (it has no {JOURNAL}): give the one that 'segbatch run' printed, or "
        "the folder of its outputs"
    )


def status_of(
    folder: Path, done_in: BlocksDone = lambda one: (), now: float | None = None
) -> RunStatus:
    """How it stands. ``done_in``: the blocks done so far of an input of several, which the journal does
    not tell. Nothing runs where no coordinator lives."""
    now = time.time() if now is None else now
    state, held = fold(Journal.read(folder / JOURNAL)), holder(folder)
    totals, run_state = state.totals(), _run_state(state, held)
    alive = run_state in ALIVE
    blocks = {one.key: done_in(one) for one in state.inputs.values() if _is_open(one)}
    running = [one for one in state.inputs.values() if one.status == RUNNING] if alive else []
    waiting, last = totals.open - len(running), state.ended or state.stopping
    return {
        "run": str(folder),
        "state": run_state,
        "why": last and last.get("why"),
        "owner": _owner(held),
        "inputs": {
            **{"total": totals.inputs, **totals.by_status},
            **{RUNNING: len(running), WAITING: waiting},
        },
        "blocks": {
            "total": totals.blocks,
            "done": totals.blocks_done + sum(map(len, blocks.values())),
        },
        "voxels": {"total": totals.voxels, "done": totals.voxels_done},
        "retries": totals.retries,
        "stragglers": totals.stragglers,
        "takeovers": totals.takeovers,
        "sessions": totals.sessions,
        **(_pace(state, totals, blocks, now) if alive or run_state == "ended" else _NO_PACE),
        "running": [_in_hand(one, len(blocks.get(one.key, ())), now) for one in running],
        "failures": _failures(state),
        "workers": [
            {**asdict(worker), "silent_s": round(max(0.0, now - worker.seen), 1)}
            for worker in _workers(state, totals, blocks)
        ],
    }


def _is_open(one: InputRecord) -> bool:
    """Whether some of its blocks may be on disk and not told of: a resumed one has them as it waits."""
    return one.status in (RUNNING, WAITING) and one.blocks > 1


def _run_state(state: State, held: LeaseState | None) -> str:
    """``running``, ``stopping``, ``ended``, ``stopped`` (there is more to do) or ``dead`` (its owner
    is)."""
    stale = held.stale(LIMIT_S) if held is not None else None
    if held is not None and not held.owner.released and not (stale and state.ended):
        if stale:
            return "dead"
        return "stopping" if state.stopping else "running"
    if state.ended is None or state.ended["status"] == Exit.STOPPED:
        return "stopped"
    return "ended"


def _owner(held: LeaseState | None) -> dict[str, Any] | None:
    if held is None:
        return None
    owner = held.owner
    return {
        "host": owner.host,
        "pid": owner.pid,
        "released": owner.released,
        "heartbeat_age_s": round(held.age_s, 1),
        "stale": None if owner.released else held.stale(LIMIT_S),
    }


_NO_PACE: RunPace = {"seconds": None, "inputs_per_hour": None, "voxels_per_s": None, "left_s": None}


def _pace(
    state: State, totals: Totals, blocks: Mapping[str, Sequence[BlockDone]], now: float
) -> RunPace:
    """The speed of this coordinator only: what was done before it, on what may have been another
    machine, says nothing about what is left. A block counts as its share of its input; before the first
    input workers start."""
    began = totals.session_began
    if began is None:
        return _NO_PACE
    end = state.ended["t"] if state.ended else now
    seconds = max(end - began, 1e-3)
    voxels, left = float(totals.session_voxels), float(totals.voxels - totals.voxels_done)
    for key, done in blocks.items():
        one = state.inputs[key]
        voxels += _share(one, sum(block.at >= began for block in done))
        left -= _share(one, len(done))
    speed = voxels / max(end - (totals.session_first or began), 1e-3)
    if not totals.open:
        left_s: float | None = 0.0
    else:
        left_s = round(max(0.0, left) / speed, 1) if speed else None
    return {
        "seconds": round(seconds, 1),
        "inputs_per_hour": round(totals.session_ended / seconds * 3600, 1),
        "voxels_per_s": round(speed, 1),
        "left_s": left_s,
    }


def _share(one: InputRecord, blocks: int) -> float:
    """Voxels of the input in so many of its blocks."""
    return one.voxels * min(1.0, blocks / one.blocks)


def _workers(
    state: State, totals: Totals, blocks: Mapping[str, Sequence[BlockDone]]
) -> list[WorkerState]:
    """Those of the journal, and those that are at blocks of which it will tell with their input."""
    found = dict(state.workers)
    began = totals.session_began or 0.0
    for block in (block for done in blocks.values() for block in done):
        if block.worker and block.at >= began:
            one = found.get(block.worker) or WorkerState(block.worker)
            seen = max(one.seen, block.at)
            found[block.worker] = replace(one, blocks=one.blocks + 1, seen=seen)
    return list(found.values())


def _in_hand(one: InputRecord, done: int, now: float) -> InHandRow:
    return {
        "input": one.key,
        "blocks_done": done,
        "blocks": one.blocks,
        "attempt": one.attempts,
        "worker": one.worker,
        "seconds": round(max(0.0, now - one.since), 1),
    }


def _failures(state: State) -> list[dict[str, Any]]:
    wrong = [one for one in state.inputs.values() if one.status in ENDED and one.error]
    latest = sorted(wrong, key=lambda one: one.since, reverse=True)[:SHOWN_FAILURES]
    return [{"input": one.key, "status": one.status, "error": one.error} for one in latest]
