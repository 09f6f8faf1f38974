"""The command ``status``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seg_batch.cli.display.standard_streams import write_error
from seg_batch.cli.options import Json, Run, run_named
from seg_batch.core.text import about, visible
from seg_batch.core.units import counted_plainly, show_s, whole_s

if TYPE_CHECKING:
    from seg_batch.batch.journal.status import InHandRow, RunStatus

EVERY_S = 2.0
HOME_AND_CLEAR = "\x1b[H\x1b[J"
ALIVE = ("running", "stopping")
RESUME = ": run the same command again to resume"


def status(
    run: Run,
    watch: Annotated[
        bool, typer.Option("--watch", help="Again every two seconds, until the run ends.")
    ] = False,
    as_json: Json = False,
) -> None:
    """The state of a run, from any terminal: inputs, blocks, rate, time left, failures, owner."""
    from seg_batch.batch.journal.status import status_of
    from seg_batch.batch.summaries import BlocksOnDisk

    folder, blocks_done = run_named(run), BlocksOnDisk()
    while True:
        facts = status_of(folder, blocks_done)
        text = json.dumps(facts) if as_json else "\n".join(status_lines(facts))
        if watch and not as_json and sys.stdout.isatty():
            text = HOME_AND_CLEAR + text
        typer.echo(text)
        if not watch or facts["state"] not in ALIVE or write_error(sys.stdout):
            return
        time.sleep(EVERY_S)


def status_lines(facts: RunStatus) -> list[str]:
    """The facts of ``status_of`` as lines of text."""
    lines = _head(facts)
    rows: Mapping[str, Any] = facts
    for title, key, line_of in (
        ("running", "running", _running),
        ("last failures", "failures", _failure),
        ("workers", "workers", _worker),
    ):
        if rows[key]:
            lines += [title, *(f"  {line_of(row)}" for row in rows[key])]
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
    state, reason = facts["state"], facts["why"] or ""
    resumable = state in ("stopped", "dead") and "same command" not in reason
    gone = ", its coordinator is gone" if state == "dead" else ""
    return f"{state}{gone}{f' ({reason})' if reason else ''}{RESUME if resumable else ''}"


def _pace(facts: RunStatus) -> str:
    parts = [show_s(facts["seconds"] or 0.0) + (" so far" if facts["state"] in ALIVE else "")]
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


def _events(facts: Mapping[str, Any]) -> str:
    singular = {"retries": "retry", "stragglers": "straggler", "takeovers": "takeover"}
    counts = {key: facts[key] for key in singular if facts[key]}
    parts = [f"{n} {singular[key] if n == 1 else key}" for key, n in counts.items()]
    if facts["sessions"] > 1:
        parts.append(f"begun {facts['sessions']} times")
    return ", ".join(parts)


def _running(item: InHandRow) -> str:
    where = f", {item['worker']}" if item["worker"] else ""
    attempt = f", try {item['attempt']}" if item["attempt"] > 1 else ""
    blocks = f"{item['blocks_done']} of {item['blocks']} blocks, " if item["blocks"] > 1 else ""
    return f"{item['name']}: {blocks}{show_s(item['seconds'])}{attempt}{where}"


def _failure(item: dict[str, Any]) -> str:
    return f"{item['status']}: {about(item['input'], item['error'])}"


def _worker(worker: dict[str, Any]) -> str:
    gone = f", gone: {worker['lost']}" if worker["lost"] else ""
    kinds = {"ended": "input", "blocks": "block"}
    done = [counted_plainly(worker[key], noun) for key, noun in kinds.items() if worker[key]]
    silent = f"last told {show_s(worker['silent_s'])} ago"
    return f"{worker['name']}: {', '.join(done) or 'nothing done'}, {silent}{gone}"
