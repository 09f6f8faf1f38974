"""A workflow of steps as its report tells it: a step is there what an input is in a night.

What became of the inputs of a prediction stands in the report of its own night, to which a link leads.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from seg_batch.batch.journal import InputRecord, Journal, fold
from seg_batch.batch.report.history import STATUSES, Interval, RunHistory, status
from seg_batch.batch.report.rows import InputRow, StepRow
from seg_batch.core.run_files import EVALUATION_PAGE, JOURNAL, PAGE, RUNS

# Where the page of a step lies, in the folder of its result.
PAGES = {"evaluate": EVALUATION_PAGE, "predict": PAGE}


def in_order(told: RunHistory, workflow: Mapping[str, Any]) -> RunHistory:
    """The night with every step of the workflow as an input, in their order, begun or not."""
    names = [str(step["name"]) for step in workflow["steps"]]
    known = {one.key: one for one in told.inputs}
    return replace(told, inputs=tuple(known.get(name) or InputRecord(name) for name in names))


def steps_of(
    told: RunHistory, workflow: Mapping[str, Any], rows: list[InputRow], folder: Path
) -> list[StepRow]:
    """One row per step; links lead from the run's ``folder``."""
    errors = {row["input"]: row["error"] for row in rows}
    spells = {spell.input: spell for spell in told.spells}  # the last of each
    steps: list[StepRow] = []
    for state, step in zip(told.inputs, workflow["steps"], strict=True):
        run = _run_folder(workflow, step) if step["do"] == "predict" else None
        spell = spells.get(state.key)
        steps.append(
            {
                "name": state.key,
                "do": step["do"],
                "status": status(state),
                "why": errors[state.key],
                "begun": spell.start if spell else None,
                "seconds": _seconds(state, spell),
                "counts": _counts(run) if run and spell else {},
                "output": _result(step),
                "page": _page(run or Path(_result(step)), step, folder) if spell else None,
            }
        )
    return steps


def _seconds(state: InputRecord, spell: Interval | None) -> float | None:
    if spell is None:
        return None
    told = state.outcome.get("seconds") if spell.ended == "done" else None
    return float(told) if told is not None else spell.stop - spell.start


def _result(step: Mapping[str, Any]) -> str:
    return str(step["outputs"]["folder"] if step["do"] == "predict" else step["output"])


def _run_folder(workflow: Mapping[str, Any], step: Mapping[str, Any]) -> Path:
    return Path(_result(step), RUNS, f"{workflow['name']}-{step['name']}")


def _counts(run: Path) -> dict[str, int]:
    """Inputs by status; those that there are."""
    states = [status(one) for one in fold(Journal.read(run / JOURNAL)).inputs.values()]
    return {word: n for word in reversed(STATUSES) if (n := states.count(word))}


def _page(made: Path, step: Mapping[str, Any], folder: Path) -> str | None:
    page = made / PAGES.get(step["do"], "")
    return quote(os.path.relpath(page, folder)) if page.is_file() else None
