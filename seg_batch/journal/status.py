"""How a run stands, told from its folder alone, by any process and at any time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from seg_batch.errors import InputError
from seg_batch.journal.events import NAME, Journal
from seg_batch.journal.lock import LIMIT_S, Held, holder
from seg_batch.journal.state import ENDED, RUNNING, InputState, State, Totals, fold

SHOWN_FAILURES = 5
RUNS = ".segbatch"  # where an output folder keeps its runs

BlocksDone = Callable[[InputState], int]


def run_folder(path: Path) -> Path:
    """The run folder that ``path`` is, or the only one of the output folder that ``path`` is.

    InputError when there is none, or more than one to choose from.
    """
    if (path / NAME).exists():
        return path
    found = sorted(journal.parent for journal in path.glob(f"{RUNS}/*/{NAME}"))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(str(folder) for folder in found)
        raise InputError(f"{path} has {len(found)} runs: name one of {names}")
    raise InputError(
        f"{path} is no run folder (it has no {NAME}): give the one that 'segbatch run' printed, or "
        "the folder of its outputs"
    )


def status_of(
    folder: Path, done_in: BlocksDone = lambda one: 0, now: float | None = None
) -> dict[str, Any]:
    """All of ``segbatch status`` as JSON-ready values. ``done_in``: blocks done so far of an input
    that is running, which the journal does not tell. Times in seconds."""
    now = time.time() if now is None else now
    state, held = fold(Journal.read(folder / NAME)), holder(folder)
    totals = state.totals()
    running = [one for one in state.inputs.values() if one.status == RUNNING]
    live = {one.key: done_in(one) for one in running}
    return {
        "run": str(folder),
        "state": _run_state(state, held),
        "why": (state.ended or state.stopping or {}).get("why"),
        "owner": _owner(held),
        "inputs": {"total": totals.inputs, **totals.by_status},
        "blocks": {"total": totals.blocks, "done": totals.blocks_done + sum(live.values())},
        "voxels": {"total": totals.voxels, "done": totals.voxels_done},
        "retries": totals.retries,
        "stragglers": totals.stragglers,
        "takeovers": totals.takeovers,
        "sessions": totals.sessions,
        **_pace(state, totals, now),
        "running": [_in_hand(one, live[one.key], now) for one in running],
        "failures": _failures(state),
        "workers": [
            {**asdict(worker), "silent_s": round(max(0.0, now - worker.seen), 1)}
            for worker in state.workers.values()
        ],
    }


def _run_state(state: State, held: Held | None) -> str:
    """``running``, ``stopping``, ``ended``, ``stopped`` (by itself) or ``dead`` (its owner is)."""
    if held is not None and not held.owner.released:
        if held.stale(LIMIT_S):
            return "dead"
        return "stopping" if state.stopping else "running"
    return "ended" if state.ended else "stopped"


def _owner(held: Held | None) -> dict[str, Any] | None:
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


def _pace(state: State, totals: Totals, now: float) -> dict[str, float | None]:
    """The speed of this coordinator only: what was done before it, on what may have been another
    machine, says nothing about what is left."""
    began = totals.session_began
    if began is None:
        return {"seconds": None, "inputs_per_hour": None, "voxels_per_s": None, "left_s": None}
    end = state.ended["t"] if state.ended else now
    seconds = max(end - began, 1e-3)
    speed = totals.session_voxels / seconds
    left = totals.voxels - totals.voxels_done
    if not totals.open:
        left_s: float | None = 0.0
    else:
        left_s = round(left / speed, 1) if speed else None
    return {
        "seconds": round(seconds, 1),
        "inputs_per_hour": round(totals.session_ended / seconds * 3600, 1),
        "voxels_per_s": round(speed, 1),
        "left_s": left_s,
    }


def _in_hand(one: InputState, done: int, now: float) -> dict[str, Any]:
    return {
        "input": one.key,
        "blocks_done": done,
        "blocks": one.blocks,
        "attempt": one.attempts,
        "worker": one.worker,
        "seconds": round(max(0.0, now - one.since), 1),
    }


def _failures(state: State) -> list[dict[str, Any]]:
    """The last ones first."""
    wrong = [one for one in state.inputs.values() if one.status in ENDED and one.error]
    latest = sorted(wrong, key=lambda one: one.since, reverse=True)[:SHOWN_FAILURES]
    return [{"input": one.key, "status": one.status, "error": one.error} for one in latest]
