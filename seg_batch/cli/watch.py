"""The command ``watch``, added to the command line by ``register``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seg_batch.cli.options import Applied, Quiet, spread, stopped
from seg_batch.cli.predict import Asked, Overwrite
from seg_batch.core.errors import PlanError, StoppedError

if TYPE_CHECKING:
    from seg_batch.config.workflow import Workflow


def watch(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Where images arrive.")],
    asked: Asked,
    applied: Applied,
    workflow: Annotated[
        str | None,
        typer.Option(help="A workflow that says how; its inputs are those that arrive."),
    ] = None,
    settle: Annotated[
        float, typer.Option(min=0, help="Seconds without a change until a file is complete.")
    ] = 10.0,
    every: Annotated[float, typer.Option(min=0.05, help="Seconds between looks.")] = 5.0,
    marker: Annotated[
        str | None,
        typer.Option(
            help="Ending, like .done, of the file that declares an image complete, written anew for each."
        ),
    ] = None,
    move_to: Annotated[
        str | None, typer.Option(help="Folder for inputs that are done; else they are marked.")
    ] = None,
    failed_to: Annotated[
        str | None, typer.Option(help="Folder for inputs that failed; else they are marked.")
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="End when nothing is left to do, as cron wants it.")
    ] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Segment what arrives in a folder, each once, until told to end (Ctrl-C, SIGTERM)."""
    from seg_batch.batch.report import write
    from seg_batch.batch.watch.archive import Tidying
    from seg_batch.batch.watch.loop import Rules
    from seg_batch.batch.watch.service import Service, serve
    from seg_batch.cli.display.run_table import RunTable

    if marker is not None and not marker.startswith("."):
        raise PlanError(f"--marker {marker!r} is no ending of a name: use one like .done")
    done_to, bad_to = (Path(f).absolute() if f else None for f in (move_to, failed_to))
    service = Service(
        tidying=Tidying(Path(folder).absolute(), done_to, bad_to, marker),
        rules=Rules(settle, every, marker, once),
        workflow=_workflow(workflow, asked, applied, folder),
        overwrite=overwrite,
        report=write,
    )
    with RunTable(quiet, last_line=False) as table:
        status = serve(service, table, table.say)
    if status == StoppedError.status:
        raise stopped("what is left waits in the folder")
    raise typer.Exit(status)


def _workflow(path: str | None, asked: Asked, applied: Applied, folder: str) -> Workflow:
    """That of the file, or one made of the options; PlanError where both are given, or neither."""
    from seg_batch.config.workflow import Workflow, read

    if path is not None:
        if (asked, applied) != (Asked(), Applied()):
            raise PlanError(
                "--workflow says how to segment: give it, or options like -o and --model"
            )
        return read(Path(path))
    if asked.output is None:
        raise PlanError(
            "watch needs -o FOLDER for its products, or --workflow FILE, which names one"
        )
    options = asked.options(applied)
    how = {**applied.settings(), "probabilities": options.probabilities, "batch": options.batch}
    post = how.pop("post")
    return Workflow.model_validate(
        {
            "name": "watch",
            "inputs": {"paths": [folder], "volume": asked.volume},
            "model": asked.model,
            "options": {**how, "block": options.block},
            "outputs": {"folder": str(Path(asked.output).absolute())},
            "post": post,
            "cluster": asked.cluster,
            "workers": asked.workers,
            "limits": {"memory": asked.memory},
        }
    )


def register(app: typer.Typer) -> None:
    app.command()(spread(watch))
