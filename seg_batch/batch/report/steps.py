"""The report of a workflow of steps: each step takes the place of an input.

The inputs of a prediction are in the report of its own run, to which the step links.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from seg_batch.batch.journal import InputRecord, Journal, fold
from seg_batch.batch.report.history import STATUSES, Interval, RunHistory, report_status
from seg_batch.batch.report.rows import InputRow, StepRow
from seg_batch.core.run_files import EVALUATION_PAGE, JOURNAL, PAGE, RUNS

# Step -> its page, within the folder of its result or of its run.
PAGES = {"evaluate": EVALUATION_PAGE, "predict": PAGE}


def with_all_steps(history: RunHistory, workflow: Mapping[str, Any]) -> RunHistory:
    """The history with every step of the workflow as an input, in their order, begun or not."""
    names = [str(step["name"]) for step in workflow["steps"]]
    known = {record.key: record for record in history.inputs}
    return replace(history, inputs=tuple(known.get(name) or InputRecord(name) for name in names))


def steps_of(
    history: RunHistory, workflow: Mapping[str, Any], rows: list[InputRow], folder: Path
) -> list[StepRow]:
    """One row per step; links are relative to the run's ``folder``."""
    errors = {row["input"]: row["error"] for row in rows}
    intervals = {interval.input: interval for interval in history.intervals}  # the last of each
    steps: list[StepRow] = []
    for state, step in zip(history.inputs, workflow["steps"], strict=True):
        predicted = step["do"] == "predict"
        result = str(step["outputs"]["folder"] if predicted else step["output"])
        run = Path(result)
        if predicted:
            run = run / RUNS / f"{workflow['name']}-{step['name']}"
        interval = intervals.get(state.key)
        steps.append(
            {
                "name": state.key,
                "do": step["do"],
                "status": report_status(state),
                "why": errors[state.key],
                "begun": interval.start if interval else None,
                "seconds": _seconds(state, interval),
                "counts": _counts(run) if predicted and interval else {},
                "output": result,
                "page": _page(run / PAGES.get(step["do"], ""), folder) if interval else None,
            }
        )
    return steps


def _seconds(state: InputRecord, interval: Interval | None) -> float | None:
    if interval is None:
        return None
    seconds = state.outcome.get("seconds") if interval.ended == "done" else None
    return float(seconds) if seconds is not None else interval.stop - interval.start


def _counts(run: Path) -> dict[str, int]:
    """The number of inputs of each status, zeros left out."""
    states = [report_status(record) for record in fold(Journal.read(run / JOURNAL)).inputs.values()]
    return {word: n for word in reversed(STATUSES) if (n := states.count(word))}


def _page(page: Path, folder: Path) -> str | None:
    return quote(os.path.relpath(page, folder)) if page.is_file() else None
