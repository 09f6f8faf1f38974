"""The plan of a run, as values and as lines: what it would do, need and refuse."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any, Literal

from seg_batch.batch.job import BatchJob, PlannedInput, RefusedInput, job_of, require_named
from seg_batch.batch.journal.events import InputFacts
from seg_batch.batch.resume import is_up_to_date, previous_run
from seg_batch.batch.survey import survey_inputs
from seg_batch.config.cluster import read_spec
from seg_batch.config.workflow.schema import Workflow
from seg_batch.core.hardware import disk_free_bytes, existing
from seg_batch.core.registry.formats import product_ending
from seg_batch.core.text import about, visible
from seg_batch.core.units import duration_roughly, show_bytes, with_commas
from seg_batch.executors.pool import InlinePool
from seg_batch.inference.fit.verdict import Verdict

Sum = Literal["blocks", "tiles", "voxels", "disk_bytes", "seconds_estimate"]
SUMS: tuple[Sum, ...] = ("blocks", "tiles", "voxels", "disk_bytes", "seconds_estimate")


def plan_run(workflow: Workflow, *, overwrite: bool = False) -> dict[str, Any]:
    """The plan of a run, made in this process; nothing is written. ``inputs``: facts by key;
    ``complete``: keys of inputs that are up to date; ``refused``: reasons by key; ``totals``.
    RefusedError where a run raises it."""
    require_named(workflow)
    job = job_of(workflow, overwrite=overwrite, is_dry=True)
    previous = previous_run(job)
    before = previous.complete if previous else {}
    pool = InlinePool()
    pool.workers = job.workers
    try:
        surveyed = list(survey_inputs(pool, job.on(pool), lambda: False))
    finally:
        pool.close()
    done = {item.key for item in surveyed if is_up_to_date(before.get(item.key), item)}
    left = [item for item in surveyed if item.key not in done]
    facts = {item.key: item.facts for item in left if isinstance(item, PlannedInput)}
    refused = {item.key: item.error for item in left if isinstance(item, RefusedInput)}
    inputs = {key: facts[key] for key in job.requests if key in facts}
    return {
        "workflow": workflow.name,
        "run": str(job.folder),
        "inputs": inputs,
        "complete": sorted(done),
        "refused": {**job.refused, **refused},
        "left_out": list(job.left_out),
        "totals": _totals(workflow, job, list(inputs.values())),
    }


def _totals(workflow: Workflow, job: BatchJob, facts: list[InputFacts]) -> dict[str, Any]:
    sums: dict[str, float] = {name: sum(row[name] for row in facts) for name in SUMS}
    return {
        "inputs": len(facts),
        **sums,
        "time": time_of([row["time"] for row in facts]),
        "largest_disk_bytes": max((row["disk_bytes"] for row in facts), default=0),
        "memory_bytes": max((row["promised_bytes"] for row in facts), default=0),
        "workers": job.workers,
        "disk_free_bytes": disk_free_bytes(existing(job.folder)),
        "deadline": job.deadline,
        "force": workflow.plan_options().force,
        "one_machine": read_spec(job.cluster).here,
    }


def time_of(times: list[dict[str, Any]]) -> dict[str, Any]:
    """The estimates of inputs that are done one after another, as one: measured where all are."""
    ranges = [time["range"] for time in times]
    guesses = sum(time["kind"] == "guess" for time in times)
    reasons = Counter(time["why"] for time in times)
    return {
        "kind": "guess" if guesses else "measured",
        "why": ", ".join(reason for reason, _ in reasons.most_common(2)),
        "range": [round(sum(end), 1) for end in zip(*ranges, strict=True)] or [0.0, 0.0],
    }


def too_large(plan: dict[str, Any]) -> bool:
    """Whether an input needs more disk than is free, so that the run would not begin."""
    totals = plan["totals"]
    return not totals["force"] and totals["largest_disk_bytes"] > totals["disk_free_bytes"]


def plan_lines(plan: dict[str, Any]) -> list[str]:
    """A line per input, the totals, and what is refused or exceeds a limit."""
    totals = plan["totals"]
    rows: list[tuple[str, ...]] = [("input", "tiles", "blocks", "time", "disk", "memory")]
    for key, facts in plan["inputs"].items():
        rows.append((visible(key), *_numbers(facts, facts["promised_bytes"])))
    rows.append((f"in all: {totals['inputs']}", *_numbers(totals, totals["memory_bytes"])))
    name, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    lines = ["  ".join([row[0].ljust(name), *map(str.rjust, row[1:], widths)]) for row in rows]
    if also := {
        e for facts in plan["inputs"].values() for e in map(product_ending, facts.get("also", ()))
    }:
        lines.append(f"also: {', '.join(sorted(also))}")
    if plan["complete"]:
        lines.append(f"complete before: {len(plan['complete'])}")
    lines += [f"refused  {visible(about(key, error))}" for key, error in plan["refused"].items()]
    lines += [f"left out  {visible(line)}" for line in plan["left_out"]]
    for key, facts in plan["inputs"].items():
        reasons = Verdict.from_json(facts.get("fit") or {"findings": []}).lines
        lines += [f"to review  {visible(about(key, line))}" for line in reasons]
    several = ", and those of one machine like this: several share them"
    lines.append(
        f"{totals['workers']} worker(s), each within the memory of its largest input; sizes on disk "
        f"are upper bounds, {show_bytes(totals['disk_free_bytes'])} are free; times are rough"
        f"{'' if totals['one_machine'] else several}"
    )
    return [*lines, *_time(totals), *_exceeded(totals)]


def _exceeded(totals: dict[str, Any]) -> list[str]:
    """A line where the run may exceed the free disk, and one for its deadline."""
    lines = []
    needed, free = totals["disk_bytes"], totals["disk_free_bytes"]
    if (largest := totals["largest_disk_bytes"]) > free:
        lines.append(
            f"one input takes {show_bytes(largest)} of disk at most, and {show_bytes(free)} are free: free some "
            "space, or go on with --set options.force=true"
        )
    elif needed > free:
        lines.append(
            f"the disk may fill up: it takes {show_bytes(needed)} at most, and {show_bytes(free)} are "
            "free; the run would stop there and could go on later"
        )
    if totals["deadline"] is not None:
        left = max(0.0, totals["deadline"] - time.time())
        late = totals["seconds_estimate"] - left
        when = time.strftime("%a %H:%M", time.localtime(totals["deadline"]))
        early = f", {duration_roughly(late)} too early for all of it" if late > 0 else ""
        lines.append(f"it stops at {when}{early}")
    return lines


def _time(totals: dict[str, Any]) -> list[str]:
    """``time  about 1 h, 48 min to 1.3 h: measured here 3 times``; nothing where there is nothing to do."""
    if not totals["inputs"]:
        return []
    low, high = map(duration_roughly, totals["time"]["range"])
    seconds = duration_roughly(totals["seconds_estimate"])
    return [f"time in all: about {seconds} ({low} to {high}): {totals['time']['why']}"]


def _numbers(facts: dict[str, Any], memory_bytes: int) -> tuple[str, ...]:
    return (
        with_commas(facts["tiles"]),
        with_commas(facts["blocks"]),
        duration_roughly(facts["seconds_estimate"]),
        show_bytes(facts["disk_bytes"]),
        show_bytes(memory_bytes),
    )
