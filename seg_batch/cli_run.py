"""The command ``run``, added to the command line by ``register``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seg_batch.cli_options import Json, Overwrite, Quiet

if TYPE_CHECKING:
    from seg_batch.workflow.schema import Workflow

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
    """Segment the inputs of a workflow, unattended. The same command again resumes."""
    from seg_batch.workflow import read

    workflow = read(file, settings or ())
    if dry_run:
        _show_plan(workflow, overwrite, as_json)
        return
    told = _run(workflow, overwrite, quiet or as_json)
    if as_json:
        typer.echo(json.dumps(told))
    elif not quiet:
        typer.echo(_summary(told))
    raise typer.Exit(told["status"])


def _show_plan(workflow: Workflow, overwrite: bool, as_json: bool) -> None:
    from seg_batch.batch.dry import plan_lines, plan_night

    plan = plan_night(workflow, overwrite=overwrite)
    typer.echo(json.dumps(plan) if as_json else "\n".join(plan_lines(plan)))
    raise typer.Exit(3 if plan["refused"] else 0)


def _run(workflow: Workflow, overwrite: bool, quiet: bool) -> dict[str, Any]:
    from seg_batch.batch.unattended import run_unattended
    from seg_batch.live import Board
    from seg_batch.morning import write

    with Board(quiet) as board:
        return run_unattended(workflow, board, board.say, write, overwrite=overwrite)


def _summary(told: dict[str, Any]) -> str:
    counts = [
        f"{told[name]} {name}" for name in ("complete", "partial", "refused", "failed", "left")
    ]
    said = ", ".join(text for text in counts if not text.startswith("0 "))
    resumed = f" ({told['resumed']} of them before)" if told["resumed"] else ""
    lines = [f"{told['inputs']} inputs: {said or 'nothing to do'}{resumed}"]
    if told["left"]:
        lines.append(f"stopped: {told['why']}; run the same command again to resume")
    return "\n".join([*lines, f"report: {told['report']}"])


def register(app: typer.Typer) -> None:
    app.command()(run)
