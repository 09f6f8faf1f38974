"""The command ``status``, added to the command line by ``register``."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from seg_batch.cli_options import Json, Run, run_named
from seg_batch.named import about

EVERY_S = 2.0
HOME_AND_CLEAR = "\x1b[H\x1b[J"
WORDS = {
    "complete": "complete",
    "partial": "partial",
    "running": "running",
    "waiting": "waiting",
    "refused": "set aside",
    "failed": "failed",
}
SAID = {
    "running": "running",
    "stopping": "stopping",
    "ended": "ended",
    "stopped": "stopped: run the same command again to resume",
    "dead": "dead, its coordinator is gone: run the same command again to resume",
}


def status(
    run: Run,
    watch: Annotated[
        bool, typer.Option("--watch", help="Again every two seconds, until the run ends.")
    ] = False,
    as_json: Json = False,
) -> None:
    """How a run stands, from any terminal: inputs, blocks, rate, time left, failures, owner."""
    from seg_batch.journal.status import status_of

    folder = run_named(run)
    while True:
        facts = status_of(folder, _blocks_done)
        text = json.dumps(facts) if as_json else "\n".join(status_lines(facts))
        if watch and not as_json and sys.stdout.isatty():
            text = HOME_AND_CLEAR + text
        typer.echo(text)
        if not watch or facts["state"] not in ("running", "stopping"):
            return
        time.sleep(EVERY_S)


def _blocks_done(one: Any) -> int:
    """Markers in the work store of an input that is running."""
    from seg_batch.verbs.outputs import Outputs

    output = (one.facts or {}).get("output")
    if not output:
        return 0
    folder = Outputs(Path(output)).store / "done"
    return min(one.blocks, sum(1 for _ in folder.glob("*.*.json")))


def status_lines(facts: dict[str, Any]) -> list[str]:
    """``status_of``'s facts for people, one line each."""
    return [
        *_head(facts),
        *_rows("running", [_running(one) for one in facts["running"]]),
        *_rows(
            "last failures",
            [
                f"{WORDS[one['status']]}: {about(one['input'], one['error'])}"
                for one in facts["failures"]
            ],
        ),
        *_rows("workers", [_worker(one) for one in facts["workers"]]),
    ]


def _head(facts: dict[str, Any]) -> list[str]:
    inputs, blocks = facts["inputs"], facts["blocks"]
    counts = [f"{inputs[name]} {word}" for name, word in WORDS.items() if inputs[name]]
    why = f" ({facts['why']})" if facts["why"] else ""
    lines = [
        f"run      {facts['run']}",
        f"state    {SAID[facts['state']]}{why}",
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


def _pace(facts: dict[str, Any]) -> str:
    parts = [f"{_clock(facts['seconds'])} so far", f"{facts['inputs_per_hour']:g} inputs/h"]
    if facts["voxels_per_s"]:
        parts.append(f"{facts['voxels_per_s'] / 1e6:.3g} Mvoxel/s")
    if facts["inputs"]["waiting"] or facts["inputs"]["running"]:
        left = facts["left_s"]
        parts.append("time left not known yet" if left is None else f"about {_clock(left)} left")
    return ", ".join(parts)


def _owner(owner: dict[str, Any]) -> str:
    if owner["released"]:
        return f"none; the last was pid {owner['pid']} on {owner['host']}"
    stale = f": {owner['stale']}" if owner["stale"] else ""
    return f"pid {owner['pid']} on {owner['host']}, heard of {owner['heartbeat_age_s']:.0f} s ago{stale}"


def _events(facts: dict[str, Any]) -> str:
    names = {"retries": "retries", "stragglers": "stragglers", "takeovers": "takeovers"}
    parts = [f"{facts[key]} {name}" for key, name in names.items() if facts[key]]
    if facts["sessions"] > 1:
        parts.append(f"begun {facts['sessions']} times")
    return ", ".join(parts)


def _running(one: dict[str, Any]) -> str:
    where = f", {one['worker']}" if one["worker"] else ""
    again = f", try {one['attempt']}" if one["attempt"] > 1 else ""
    blocks = f"{one['blocks_done']} of {one['blocks']} blocks, " if one["blocks"] > 1 else ""
    return f"{one['input']}: {blocks}{_clock(one['seconds'])}{again}{where}"


def _worker(one: dict[str, Any]) -> str:
    gone = f", gone: {one['lost']}" if one["lost"] else ""
    return f"{one['name']}: {one['ended']} inputs, last told {_clock(one['silent_s'])} ago{gone}"


def _rows(title: str, rows: list[str]) -> list[str]:
    return [title, *(f"  {row}" for row in rows)] if rows else []


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def register(app: typer.Typer) -> None:
    app.command()(status)
