"""The command ``run``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seg_batch.cli.options import Json, Overwrite, Quiet, stopped
from seg_batch.core.errors import StoppedError
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
    settings: Settings = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what it would do and take; do nothing.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Segment the inputs of a workflow, or do its steps, unattended. The same command again resumes."""
    from seg_batch.config.workflow import read

    workflow = read(file, settings or ())
    if workflow.steps:
        _steps(workflow, dry_run, overwrite, as_json, quiet)
    if dry_run:
        _show_plan(workflow, overwrite, as_json)
        return
    told = _run(workflow, overwrite, quiet or as_json)
    if as_json:
        typer.echo(json.dumps(told))
    elif not quiet:
        typer.echo(_summary(told))
    if told["left"]:
        raise stopped(told["why"])
    raise typer.Exit(told["status"])


def _show_plan(workflow: Workflow, overwrite: bool, as_json: bool) -> None:
    from seg_batch.batch.dry_run import plan_lines, plan_run

    plan = plan_run(workflow, overwrite=overwrite)
    typer.echo(json.dumps(plan) if as_json else "\n".join(plan_lines(plan)))
    raise typer.Exit(3 if plan["refused"] else 0)


def _run(workflow: Workflow, overwrite: bool, quiet: bool) -> dict[str, Any]:
    from seg_batch.batch.report import write
    from seg_batch.batch.run import run_unattended
    from seg_batch.cli.display.run_table import RunTable

    with RunTable(quiet, last_line=False) as table:
        return run_unattended(workflow, table, table.say, write, overwrite=overwrite)


def _steps(workflow: Workflow, dry_run: bool, overwrite: bool, as_json: bool, quiet: bool) -> None:
    """Plan the steps or do them, and leave."""
    from seg_batch.batch.report import write
    from seg_batch.batch.steps.dry_run import plan_steps, step_lines
    from seg_batch.batch.steps.run import run_steps
    from seg_batch.cli.display.bars import CutBar, ScoreBar, TrainBar
    from seg_batch.cli.display.run_table import RunTable

    if dry_run:
        plan = plan_steps(workflow)
        typer.echo(json.dumps(plan) if as_json else "\n".join(step_lines(plan)))
        raise typer.Exit(3 if plan["refused"] else 0)
    bars = {"patches": CutBar, "train": TrainBar, "evaluate": ScoreBar, "predict": RunTable}
    told = run_steps(
        workflow,
        lambda do: bars[do](quiet or as_json),
        lambda line: typer.echo(f"segbatch: {visible(line)}", err=True),
        write,
        overwrite=overwrite,
    )
    if as_json:
        typer.echo(json.dumps(told))
    elif not quiet:
        typer.echo("\n".join(_step_lines(told)))
    if told["status"] == StoppedError.status:
        raise stopped(told["why"])
    if told["status"] and not as_json:
        typer.echo(f"segbatch: {visible(told['why'])}", err=True)
    raise typer.Exit(told["status"])


def _step_lines(told: dict[str, Any]) -> list[str]:
    lines = [
        f"{one['name']}: {one['status']}{' before' if one['before'] else ''}  {one['output']}"
        for one in told["steps"]
    ]
    lines += [f"{name}: not begun" for name in told["left"]]
    return [*lines, *_where(told)]


def _where(told: dict[str, Any]) -> list[str]:
    """A full disk may have kept the report from being written."""
    return [f"report: {told['report']}"] if Path(told["report"]).is_file() else []


def _summary(told: dict[str, Any]) -> str:
    counts = [
        f"{told[name]} {name}" for name in ("complete", "partial", "refused", "failed", "left")
    ]
    if told["resumed"]:
        counts[0] += f" ({told['resumed']} of them before)"
    said = ", ".join(text for text in counts if not text.startswith("0 "))
    inputs = counted_plainly(told["inputs"], "input")
    return "\n".join([f"{inputs}: {said or 'nothing to do'}", *_where(told)])
