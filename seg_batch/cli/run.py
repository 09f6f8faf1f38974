"""The command ``run``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seg_batch.cli.options import Json, Overwrite, Pictures, Quiet, show, stopped
from seg_batch.config.command_options import ProfileOptions
from seg_batch.core.errors import PlanError, StoppedError
from seg_batch.core.text import visible
from seg_batch.core.units import counted_plainly

if TYPE_CHECKING:
    from seg_batch.config.workflow.schema import Workflow

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PART.KEY=VALUE", help="Over the workflow; repeatable."),
]


def run(
    file: Annotated[str, typer.Argument(metavar="WORKFLOW", help="A YAML file.")],
    profiling: ProfileOptions,
    settings: Settings = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what it would do and take; do nothing.")
    ] = False,
    pictures: Pictures = True,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Segment the inputs of a workflow, or do its steps, unattended. The same command again resumes."""
    from seg_batch.config.workflow import read

    workflow, profile = read(file, settings or ()), profiling.profile
    workflow = workflow if pictures else workflow.without_pictures()
    if workflow.pacs is not None:
        raise PlanError(
            f"{file} has the key pacs, and what comes over a network has no end: use segbatch watch FOLDER --workflow"
        )
    if profile and (dry_run or workflow.steps):
        what = "a dry run predicts nothing" if dry_run else "the workflow has steps"
        raise PlanError(f"--profile is of one prediction, and {what}: leave it out")
    if dry_run:
        status = _dry_run(workflow, overwrite, as_json)
    elif workflow.steps:
        status = _run_steps(workflow, overwrite, as_json, quiet)
    else:
        status = _run_inputs(workflow, overwrite, as_json, quiet, profile)
    raise typer.Exit(status)


def _dry_run(workflow: Workflow, overwrite: bool, as_json: bool) -> int:
    from seg_batch.batch.dry_run import plan_lines, plan_run, too_large
    from seg_batch.batch.steps.dry_run import plan_steps, step_lines

    if workflow.steps:
        plan, lines = plan_steps(workflow), step_lines
    else:
        plan, lines = plan_run(workflow, overwrite=overwrite), plan_lines
    show(plan, lines, as_json)
    runs = [s["night"] for s in plan["steps"] if "night" in s] if workflow.steps else [plan]
    if any(map(too_large, runs)):
        return 2
    return 3 if plan["refused"] else 0


def _run_inputs(
    workflow: Workflow, overwrite: bool, as_json: bool, quiet: bool, profile: str | None
) -> int:
    from seg_batch.batch.report import write
    from seg_batch.batch.run import run_unattended
    from seg_batch.cli.display.run_table import RunTable

    with RunTable(quiet or as_json, last_line=False) as table:
        more: dict[str, Any] = {"overwrite": overwrite, "profile": profile}
        result = run_unattended(workflow, table, table.say, write, **more)
    show(result, _input_lines, as_json, quiet)
    if result["left"]:
        raise stopped(result["why"])
    return int(result["status"])


def _run_steps(workflow: Workflow, overwrite: bool, as_json: bool, quiet: bool) -> int:
    from seg_batch.batch.report import write
    from seg_batch.batch.steps.run import run_steps
    from seg_batch.cli.display.bars import CutBar, ScoreBar, TrainBar
    from seg_batch.cli.display.run_table import RunTable

    bars = {"patches": CutBar, "train": TrainBar, "evaluate": ScoreBar, "predict": RunTable}
    result = run_steps(
        workflow, lambda do: bars[do](quiet or as_json), _say, write, overwrite=overwrite
    )
    show(result, _step_lines, as_json, quiet)
    if result["status"] == StoppedError.status:
        raise stopped(result["why"])
    if result["status"] and not as_json:
        _say(result["why"])
    return int(result["status"])


def _say(line: str) -> None:
    typer.echo(f"segbatch: {visible(line)}", err=True)


def _step_lines(result: dict[str, Any]) -> list[str]:
    lines = [
        f"{step['name']}: {step['status']}{' before' if step['before'] else ''}  {step['output']}"
        for step in result["steps"]
    ]
    return [*lines, *(f"{name}: not begun" for name in result["left"]), *_report_line(result)]


def _input_lines(result: dict[str, Any]) -> list[str]:
    kinds = ("complete", "partial", "refused", "failed", "left")
    counts = {kind: f"{result[kind]} {kind}" for kind in kinds if result[kind]}
    if result["resumed"] and "complete" in counts:
        counts["complete"] += f" ({result['resumed']} of them before)"
    if result["to_review"]:
        counts["to review"] = f"{result['to_review']} to review"
    text = ", ".join(counts.values()) or "nothing to do"
    return [f"{counted_plainly(result['inputs'], 'input')}: {text}", *_report_line(result)]


def _report_line(result: dict[str, Any]) -> list[str]:
    """Nothing where the report was not written, as on a full disk."""
    return [f"report: {result['report']}"] if Path(result["report"]).is_file() else []
