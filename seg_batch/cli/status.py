"""The command ``status``."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seg_batch.cli.options import Json, Run, run_named
from seg_batch.core.text import about, visible
from seg_batch.core.units import counted_plainly, show_s, whole_s

if TYPE_CHECKING:
    from seg_batch.batch.journal.status import InHandRow, RunStatus

EVERY_S = 2.0
HOME_AND_CLEAR = "\x1b[H\x1b[J"
SAID = {
    "running": "running",
    "stopping": "stopping",
    "ended": "ended",
    "stopped": "stopped",
    "dead": "dead, its coordinator is gone",
}
ALIVE = ("running", "stopping")
GO_ON = ": run the same command again to resume"


def status(
    run: Run,
    watch: Annotated[
        bool, typer.Option("--watch", help="Again every two seconds, until the run ends.")
    ] = False,
    as_json: Json = False,
) -> None:
    """How a run stands, from any terminal: inputs, blocks, rate, time left, failures, owner."""
    from seg_batch.batch.journal.status import status_of
    from seg_batch.batch.summaries import BlocksOnDisk

    folder, blocks_done = run_named(run), BlocksOnDisk()
    while True:
        facts = status_of(folder, blocks_done)
        text = json.dumps(facts) if as_json else "\n".join(status_lines(facts))
        if watch and not as_json and sys.stdout.isatty():
            text = HOME_AND_CLEAR + text
        typer.echo(text)
        if not watch or facts["state"] not in ALIVE:
            return
        time.sleep(EVERY_S)


def status_lines(facts: RunStatus) -> list[str]:
    """``status_of``'s facts for people, one line each."""
    lines = [
        *_head(facts),
        *_rows("running", [_running(one) for one in facts["running"]]),
        *_rows(
            "last failures",
            [f"{one['status']}: {about(one['input'], one['error'])}" for one in facts["failures"]],
        ),
        *_rows("workers", [_worker(one) for one in facts["workers"]]),
    ]
    return [visible(line) for line in lines]


def _head(facts: RunStatus) -> list[str]:
    inputs, blocks = facts["inputs"], facts["blocks"]
    counts = [f"{n} {word}" for word, n in inputs.items() if n and word != "total"]
    lines = [
        f"run      {facts['run']}",
        f"state    {_state(facts)}",
        f"inputs   {inputs['total']}: {', '.join(counts) or 'not surveyed yet'}",
        f"blocks   {blocks['done']} of {blocks['total']}",
    ]
    if facts["seconds"] is not None:
        lines.append(f"pace     {_pace(facts)}")
    if facts["owner"]:
        lines.append(f"owner    {_owner(facts['owner'])}")
    if events := _events(facts):
        lines.append(f"events   {events}")
    return lines


def _state(facts: RunStatus) -> str:
    why = facts["why"] or ""
    resumable = facts["state"] in ("stopped", "dead") and "same command" not in why
    return f"{SAID[facts['state']]}{f' ({why})' if why else ''}{GO_ON if resumable else ''}"


def _pace(facts: RunStatus) -> str:
    alive = facts["state"] in ALIVE
    took = show_s(facts["seconds"] or 0.0) + (" so far" if alive else "")
    parts = [took]
    if facts["inputs_per_hour"]:
        parts.append(f"{facts['inputs_per_hour']:g} inputs/h")
    if facts["voxels_per_s"]:
        parts.append(f"{facts['voxels_per_s'] / 1e6:.3g} Mvoxel/s")
    if facts["state"] == "running" and facts["left_s"] != 0:
        left = facts["left_s"]
        parts.append("time left not known yet" if left is None else f"about {show_s(left)} left")
    return ", ".join(parts)


def _owner(owner: dict[str, Any]) -> str:
    if owner["released"]:
        return f"none; the last was pid {owner['pid']} on {owner['host']}"
    stale = f": {owner['stale']}" if owner["stale"] else ""
    age = whole_s(owner["heartbeat_age_s"])
    return f"pid {owner['pid']} on {owner['host']}, heard of {age} ago{stale}"


def _events(facts: RunStatus) -> str:
    counts = {
        ("retry", "retries"): facts["retries"],
        ("straggler", "stragglers"): facts["stragglers"],
        ("takeover", "takeovers"): facts["takeovers"],
    }
    parts = [f"{n} {nouns[n != 1]}" for nouns, n in counts.items() if n]
    if facts["sessions"] > 1:
        parts.append(f"begun {facts['sessions']} times")
    return ", ".join(parts)


def _running(one: InHandRow) -> str:
    where = f", {one['worker']}" if one["worker"] else ""
    again = f", try {one['attempt']}" if one["attempt"] > 1 else ""
    blocks = f"{one['blocks_done']} of {one['blocks']} blocks, " if one["blocks"] > 1 else ""
    return f"{one['input']}: {blocks}{show_s(one['seconds'])}{again}{where}"


def _worker(one: dict[str, Any]) -> str:
    gone = f", gone: {one['lost']}" if one["lost"] else ""
    kinds = {"ended": "input", "blocks": "block"}
    did = [counted_plainly(one[key], noun) for key, noun in kinds.items() if one[key]]
    told = f"{one['name']}: {', '.join(did) or 'nothing done'}"
    return f"{told}, last told {show_s(one['silent_s'])} ago{gone}"


def _rows(title: str, rows: list[str]) -> list[str]:
    return [title, *(f"  {row}" for row in rows)] if rows else []
