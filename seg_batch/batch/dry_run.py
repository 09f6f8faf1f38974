"""The plan of a night, as values and as lines for a person: what it would do, take and refuse."""

from __future__ import annotations

import time
from typing import Any, Literal

from seg_batch.batch.job import BatchJob, PlannedInput, RefusedInput, job_of, require_named
from seg_batch.batch.journal.events import InputFacts
from seg_batch.batch.resume import earlier, is_up_to_date
from seg_batch.batch.survey import survey_inputs
from seg_batch.config.cluster import read_spec
from seg_batch.config.workflow.schema import Workflow
from seg_batch.core.hardware import disk_free_bytes, existing
from seg_batch.core.text import about, visible
from seg_batch.core.units import duration_roughly, show_bytes, with_commas
from seg_batch.executors.pool import InlinePool

Sum = Literal["blocks", "tiles", "voxels", "disk_bytes", "seconds_estimate"]
SUMS: tuple[Sum, ...] = ("blocks", "tiles", "voxels", "disk_bytes", "seconds_estimate")


def plan_run(workflow: Workflow, *, overwrite: bool = False) -> dict[str, Any]:
    """What a run would do with every input, decided here and without workers; nothing is
    written. ``inputs``: facts by key; ``complete``: keys of those that need not be done again;
    ``refused``: reasons by key; ``totals``. RefusedError where a run raises it."""
    require_named(workflow)
    orders = job_of(workflow, overwrite=overwrite)
    known = earlier(orders)
    before = known.complete if known else {}
    pool = InlinePool()
    pool.workers = orders.workers
    try:
        surveyed = list(survey_inputs(pool, orders.on(pool), lambda: False))
    finally:
        pool.close()
    done = {one.key for one in surveyed if is_up_to_date(before.get(one.key), one)}
    left = [one for one in surveyed if one.key not in done]
    facts = {one.key: one.facts for one in left if isinstance(one, PlannedInput)}
    late = {one.key: one.error for one in left if isinstance(one, RefusedInput)}
    inputs = {key: facts[key] for key in orders.requests if key in facts}
    return {
        "workflow": workflow.name,
        "run": str(orders.folder),
        "inputs": inputs,
        "complete": sorted(done),
        "refused": {**orders.refused, **late},
        "totals": _totals(orders, list(inputs.values())),
    }


def _totals(orders: BatchJob, facts: list[InputFacts]) -> dict[str, Any]:
    sums: dict[str, float] = {name: sum(one[name] for one in facts) for name in SUMS}
    return {
        "inputs": len(facts),
        **sums,
        "memory_bytes": max((one["promised_bytes"] for one in facts), default=0),
        "workers": orders.workers,
        "disk_free_bytes": disk_free_bytes(existing(orders.folder)),
        "deadline": orders.limits.deadline,
        "one_machine": read_spec(orders.cluster).here,
    }


def plan_lines(plan: dict[str, Any]) -> list[str]:
    """One line per input, refused ones with the reason, and what it comes to."""
    rows: list[tuple[str, ...]] = [("input", "tiles", "blocks", "time", "disk", "memory")]
    for key, one in plan["inputs"].items():
        rows.append((visible(key), *_numbers(one, one["promised_bytes"])))
    totals = plan["totals"]
    rows.append((f"in all: {totals['inputs']}", *_numbers(totals, totals["memory_bytes"])))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(t.rjust(w) for t, w in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in rows
    ]
    if plan["complete"]:
        lines.append(f"complete before: {len(plan['complete'])}")
    lines += [f"refused  {visible(about(key, error))}" for key, error in plan["refused"].items()]
    lines.append(
        f"{totals['workers']} worker(s), each within the memory of its largest input; sizes on disk "
        f"are upper bounds, {show_bytes(totals['disk_free_bytes'])} are free; times are rough"
        + (
            ""
            if totals["one_machine"]
            else ", and those of one machine like this: several share them"
        )
    )
    return [*lines, *_too_much(totals)]


def _too_much(totals: dict[str, Any]) -> list[str]:
    """What will not fit, as far as it is known."""
    lines = []
    needed, free = totals["disk_bytes"], totals["disk_free_bytes"]
    if needed > free:
        lines.append(
            f"the disk may fill up: it takes {show_bytes(needed)} at most, and {show_bytes(free)} are "
            "free; the run would stop there and could go on later"
        )
    if totals["deadline"] is not None:
        left = max(0.0, totals["deadline"] - time.time())
        late = totals["seconds_estimate"] - left
        when = time.strftime("%a %H:%M", time.localtime(totals["deadline"]))
        more = f", {duration_roughly(late)} too early for all of it" if late > 0 else ""
        lines.append(f"it stops at {when}{more}")
    return lines


def _numbers(one: dict[str, Any], memory_bytes: int) -> tuple[str, ...]:
    return (
        with_commas(one["tiles"]),
        with_commas(one["blocks"]),
        duration_roughly(one["seconds_estimate"]),
        show_bytes(one["disk_bytes"]),
        show_bytes(memory_bytes),
    )
