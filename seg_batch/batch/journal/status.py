"""The status of a run, read from its folder alone, by any process and at any time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

from seg_batch.batch.journal.events import Journal
from seg_batch.batch.journal.lease import LIMIT_S, LeaseState, holder
from seg_batch.batch.journal.names import input_name
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
from seg_batch.core.files import require_local_input
from seg_batch.core.run_files import JOURNAL, RUNS

SHOWN_FAILURES = 5

ALIVE = ("running", "stopping")


@dataclass(frozen=True)
class BlockDone:
    """A block on disk of an input that has not ended. ``began``, ``at`` (its end): unix seconds;
    ``worker``: empty where unknown."""

    at: float
    began: float
    worker: str = ""


class InHandRow(TypedDict):
    """A running input; ``name``: what people call it; ``seconds``: since it was begun."""

    input: str
    name: str
    blocks_done: int
    blocks: int
    attempt: int
    worker: str | None
    seconds: float


class RunPace(TypedDict):
    """The speed of a run that is running or has ended; otherwise all are None."""

    seconds: float | None
    inputs_per_hour: float | None
    voxels_per_s: float | None
    left_s: float | None


class RunStatus(RunPace):
    """The JSON of ``segbatch status``. ``inputs``: ``total``, and counts by status; ``failures``:
    the latest first."""

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
    """``path`` if it is a run folder, else the only run folder in the output folder ``path``.

    InputError when there is none, or more than one to choose from.
    """
    require_local_input(path)
    if (path / JOURNAL).exists():
        return path
    runs = sorted(journal.parent for journal in path.glob(f"{RUNS}/*/{JOURNAL}"))
    if len(runs) == 1:
        return runs[0]
    if runs:
        names = ", ".join(map(str, runs))
        raise InputError(f"{path} has {len(runs)} runs: name one of {names}")
    raise InputError(
        f"{path} is no run folder (it has no {JOURNAL}): give the one that 'segbatch run' printed, or "
        "the folder of its outputs"
    )


def status_of(
    folder: Path, done_in: BlocksDone = lambda record: (), now: float | None = None
) -> RunStatus:
    """The status at ``now`` (unix seconds). ``done_in``: the blocks on disk of an input of several blocks,
    which are not in the journal. Without a living coordinator no input counts as running."""
    now = time.time() if now is None else now
    state, lease = fold(Journal.read(folder / JOURNAL)), holder(folder)
    totals, run_state = state.totals(), _run_state(state, lease)
    alive = run_state in ALIVE
    # Of inputs with blocks on disk that the journal does not have; a waiting one may be resumed.
    open_inputs = (r for r in state.inputs.values() if r.status in (RUNNING, WAITING))
    blocks = {record.key: done_in(record) for record in open_inputs if record.blocks > 1}
    running = (
        [record for record in state.inputs.values() if record.status == RUNNING] if alive else []
    )
    waiting, last = totals.open - len(running), state.ended or state.stopping
    return {
        "run": str(folder),
        "state": run_state,
        "why": last and last.get("why"),
        "owner": _owner(lease),
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
        "running": [_in_hand(record, len(blocks.get(record.key, ())), now) for record in running],
        "failures": _failures(state),
        "workers": [
            {**asdict(worker), "silent_s": round(max(0.0, now - worker.seen), 1)}
            for worker in _workers(state, totals, blocks)
        ],
    }


def _run_state(state: State, lease: LeaseState | None) -> str:
    """``running``, ``stopping``, ``ended``, ``stopped`` (work is left) or ``dead`` (its owner is)."""
    stale = lease.stale(LIMIT_S) if lease is not None else None
    if lease is not None and not lease.owner.released and not (stale and state.ended):
        if stale:
            return "dead"
        return "stopping" if state.stopping else "running"
    if state.ended is None or state.ended["status"] == Exit.STOPPED:
        return "stopped"
    return "ended"


def _owner(lease: LeaseState | None) -> dict[str, Any] | None:
    if lease is None:
        return None
    owner = lease.owner
    return {
        "host": owner.host,
        "pid": owner.pid,
        "released": owner.released,
        "heartbeat_age_s": round(lease.age_s, 1),
        "stale": None if owner.released else lease.stale(LIMIT_S),
    }


_NO_PACE: RunPace = {"seconds": None, "inputs_per_hour": None, "voxels_per_s": None, "left_s": None}


def _pace(
    state: State, totals: Totals, blocks: Mapping[str, Sequence[BlockDone]], now: float
) -> RunPace:
    """The speed of the present coordinator: work before it may have been on another machine, so it
    does not predict the rest. A block counts as its share of the input. The time before the first
    input is left out, since workers start in it."""
    began = totals.session_began
    if began is None:
        return _NO_PACE
    end = state.ended["t"] if state.ended else now
    seconds = max(end - began, 1e-3)
    voxels, left = float(totals.session_voxels), float(totals.voxels - totals.voxels_done)
    for key, done in blocks.items():
        record = state.inputs[key]
        voxels += _share(record, sum(block.at >= began for block in done))
        left -= _share(record, len(done))
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


def _share(record: InputRecord, blocks: int) -> float:
    """Voxels in so many blocks of an input."""
    return record.voxels * min(1.0, blocks / record.blocks)


def _workers(
    state: State, totals: Totals, blocks: Mapping[str, Sequence[BlockDone]]
) -> list[WorkerState]:
    """Workers in the journal, and those of blocks on disk, which it gets with their input."""
    workers = dict(state.workers)
    began = totals.session_began or 0.0
    for block in (block for done in blocks.values() for block in done):
        if block.worker and block.at >= began:
            worker = workers.get(block.worker) or WorkerState(block.worker)
            seen = max(worker.seen, block.at)
            workers[block.worker] = replace(worker, blocks=worker.blocks + 1, seen=seen)
    return list(workers.values())


def _in_hand(record: InputRecord, done: int, now: float) -> InHandRow:
    return {
        "input": record.key,
        "name": input_name(record.key, record.facts.get("image")),
        "blocks_done": done,
        "blocks": record.blocks,
        "attempt": record.attempts,
        "worker": record.worker,
        "seconds": round(max(0.0, now - record.since), 1),
    }


def _failures(state: State) -> list[dict[str, Any]]:
    wrong = [record for record in state.inputs.values() if record.status in ENDED and record.error]
    latest = sorted(wrong, key=lambda record: record.since, reverse=True)[:SHOWN_FAILURES]
    return [
        {"input": record.key, "status": record.status, "error": record.error} for record in latest
    ]
