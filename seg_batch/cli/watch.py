"""The command ``watch``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seg_batch.cli.options import Pictures, Quiet, stopped
from seg_batch.cli.predict import Overwrite
from seg_batch.config.options import unset_options
from seg_batch.config.predict_options import PredictOptions, RequestArguments
from seg_batch.core.errors import PlanError, StoppedError
from seg_batch.core.files import require_local_input, require_local_output

if TYPE_CHECKING:
    from seg_batch.config.workflow import Workflow


def watch(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Where images arrive.")],
    arguments: RequestArguments,
    options: PredictOptions,
    workflow: Annotated[
        str | None,
        typer.Option(help="A workflow that says how; its inputs are those that arrive."),
    ] = None,
    stack: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Name of each file of one image, with {id} for what they share; repeatable.",
        ),
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
    listen_dicom: Annotated[
        str | None,
        typer.Option(
            metavar="AE@HOST:PORT",
            help="Receive series there by C-STORE; no HOST: this machine alone.",
        ),
    ] = None,
    allow_from: Annotated[
        list[str] | None,
        typer.Option(metavar="AE[@ADDRESS]", help="Who may send; all, if not given; repeatable."),
    ] = None,
    send_to: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PLACE",
            help="AE@HOST:PORT or https://.../studies: gets products that are DICOM; repeatable.",
        ),
    ] = None,
    dicom_tls: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Certificates, of segbatch cluster certs.")
    ] = None,
    dicom_plain: Annotated[
        bool, typer.Option("--dicom-plain", help="No certificates, on a network that is trusted.")
    ] = False,
    once: Annotated[
        bool, typer.Option("--once", help="End when nothing is left to do, as cron wants it.")
    ] = False,
    pictures: Pictures = True,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Segment the images that arrive in a folder, each once, until ended (Ctrl-C, SIGTERM)."""
    from seg_batch.batch.report import write
    from seg_batch.batch.watch.archive import Archive
    from seg_batch.batch.watch.loop import ArrivalRules
    from seg_batch.batch.watch.series_arrivals import SeriesArrivals
    from seg_batch.batch.watch.service import Service, serve
    from seg_batch.batch.watch.stack_arrivals import StackArrivals
    from seg_batch.cli.display.run_table import RunTable
    from seg_batch.config.workflow import with_network

    if marker is not None:
        _require_marker(marker)
    require_local_input(folder)
    for target in filter(None, (arguments.output, move_to, failed_to)):
        require_local_output(target)
    done_to, bad_to = (Path(f).absolute() if f else None for f in (move_to, failed_to))
    chosen = _workflow(workflow, arguments, options, folder)
    chosen = chosen if pictures else chosen.without_pictures()
    network = {"listen": listen_dicom, "allow": allow_from, "send_to": send_to, "tls": dicom_tls}
    chosen = with_network(chosen, {**network, "plain": dicom_plain})
    if marker is not None and chosen.pacs and chosen.pacs.listen:
        raise PlanError(
            "--marker waits for files that declare series complete, and those that are received have none: leave it out"
        )
    patterns = stack or (chosen.inputs.stack if chosen.inputs else ())
    arrivals = SeriesArrivals(
        Path(folder).absolute(),
        settle,
        StackArrivals.of(patterns),
        apart=[Path(f) for f in (chosen.outputs.folder, done_to, bad_to) if f is not None],
        marker=marker,
        choice=chosen.inputs.series if chosen.inputs else None,
    )
    service = Service(
        archive=Archive(Path(folder).absolute(), done_to, bad_to, marker, arrivals),
        rules=ArrivalRules(settle, every, marker, once),
        workflow=chosen,
        overwrite=overwrite,
        report=write,
    )
    with RunTable(quiet, last_line=False) as table:
        status = serve(service, table, table.say)
    if status == StoppedError.status:
        raise stopped("what is left waits in the folder")
    raise typer.Exit(status)


def _require_marker(marker: str) -> None:
    """PlanError for what is no ending, or ends files that are read as part of an image."""
    from seg_batch.core.registry.formats import image_endings
    from seg_batch.io.sources.side_files import side_of

    if not marker.startswith("."):
        raise PlanError(f"--marker {marker!r} is no ending of a name: use one like .done")
    sides = (side_of(f"a{ending}", f"a{marker}") for ending in image_endings())
    if any(side is not None and side.is_read for side in sides):
        raise PlanError(
            f"--marker {marker!r} ends files that are read as part of an image, so it is no sign that the "
            "image is complete: use one like .done"
        )


def _workflow(
    path: str | None, arguments: RequestArguments, options: PredictOptions, folder: str
) -> Workflow:
    """The workflow of the file, or one made of the options; PlanError where both are given, or neither."""
    from seg_batch.config.workflow import Workflow, read
    from seg_batch.config.workflow.option_keys import fault_of_option, keys_saying

    if path is not None:
        if (arguments, options) != (unset_options(RequestArguments), unset_options(PredictOptions)):
            raise PlanError(
                "--workflow says how to segment: give it, or options like -o and --model"
            )
        return read(Path(path))
    if arguments.output is None:
        raise PlanError(
            "watch needs -o FOLDER for its products, or --workflow FILE, which names one"
        )
    plain = {"name": "watch", **keys_saying(arguments, options)}
    plain["inputs"]["paths"] = [folder]
    plain["outputs"]["folder"] = str(Path(arguments.output).absolute())
    plain["limits"]["memory"] = str(options.memory_bytes) if options.memory_bytes else None
    try:
        return Workflow.model_validate(plain)
    except ValueError as error:
        raise fault_of_option(error, arguments, options) from None
