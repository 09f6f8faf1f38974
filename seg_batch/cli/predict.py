"""The commands ``predict`` and ``plan``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seg_batch.cli.options import Json, Quiet, say
from seg_batch.config.command_options import ProfileOptions
from seg_batch.config.predict_options import PredictOptions, RequestArguments
from seg_batch.core.errors import DiskFullError, PlanError, SegbatchError
from seg_batch.core.text import Once

if TYPE_CHECKING:
    from seg_batch.inference.request import Request

Inputs = Annotated[list[str], typer.Argument(metavar="INPUT...", help="Scenes and volumes.")]
Stack = Annotated[bool, typer.Option("--stack", help="All INPUTs are the channels of one image.")]
Mosaic = Annotated[bool, typer.Option("--mosaic", help="All INPUTs are pieces of one scene.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what stands at the output.")]
Measure = Annotated[
    bool, typer.Option("--measure", help="Measure the model's speed here first, in five seconds.")
]
KeepStore = Annotated[bool, typer.Option("--keep-store", help="Keep the Zarr work store.")]


def requests(
    inputs: list[str],
    stack: bool,
    mosaic: bool,
    arguments: RequestArguments,
    options: PredictOptions,
    is_dry: bool = False,
    **fields: Any,
) -> list[Request]:
    """One request per input, or one for all of a ``stack`` or ``mosaic``; ``is_dry``: no table is written; ``fields``: further ones of each."""
    from seg_batch.inference.outputs import require_own_names
    from seg_batch.inference.request import Request

    if stack and mosaic:
        raise PlanError(
            "--stack takes INPUTs as channels and --mosaic as pieces of one scene: leave out one"
        )
    if arguments.tiles_out is not None and not mosaic:
        raise PlanError(
            "--tiles-out writes a map for each piece of a mosaic: give --mosaic, or leave it out"
        )
    images: list[str | tuple[str, ...]] = [tuple(inputs)] if stack or mosaic else [*inputs]
    require_own_names(tuple(arguments.also or ()), len(images) > 1)
    fields |= {**vars(arguments), "options": options, "many": len(images) > 1, "mosaic": mosaic}
    if (table := fields.pop("deidentify")) is None:
        return [Request(input=image, **fields) for image in images]
    from seg_batch.inference.deidentified.codes import pseudonyms_for

    codes = pseudonyms_for(table, images, arguments.output, arguments, is_dry=is_dry)
    made = zip(images, codes, strict=True)
    return [Request(input=image, pseudonym=pseudonym, **fields) for image, pseudonym in made]


def predict(
    inputs: Inputs,
    arguments: RequestArguments,
    options: PredictOptions,
    profiling: ProfileOptions,
    stack: Stack = False,
    mosaic: Mosaic = False,
    overwrite: Overwrite = False,
    keep_store: KeepStore = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Segment scenes and volumes. The same command again resumes."""
    from seg_batch.cli.display.bars import Bar
    from seg_batch.cli.display.lines import summary_lines
    from seg_batch.core.callbacks import Callbacks
    from seg_batch.inference.measuring.profile import profiled
    from seg_batch.inference.predict import partial_line, predict_one

    worst, shown, once = 0, list[Mapping[str, Any]](), Once()
    more = {"overwrite": overwrite, "keep_store": keep_store, "profile": bool(profiling.profile)}
    wanted = requests(inputs, stack, mosaic, arguments, options, **more)
    with profiled(profiling.profile, say) as profile:
        for request in wanted:
            try:
                with Bar(quiet or as_json, once) as bar:
                    report = predict_one(request, Callbacks(bar, profile))
            except SegbatchError as error:
                if not request.many or isinstance(error, DiskFullError):
                    raise
                say(error.message)
                shown.append({"input": str(request), "status": "refused", "error": error.message})
                worst = max(worst, error.status)
                continue
            shown.append(report)
            if report["status"] != "complete":
                worst = max(worst, 3)
                say(partial_line(report))
            if not quiet and not as_json:
                typer.echo(summary_lines(report))
    if as_json:
        typer.echo(json.dumps(shown[0] if len(wanted) == 1 else shown))
    raise typer.Exit(worst)


def plan(
    inputs: Inputs,
    arguments: RequestArguments,
    options: PredictOptions,
    stack: Stack = False,
    mosaic: Mosaic = False,
    measure: Measure = False,
    as_json: Json = False,
) -> None:
    """Show what predict would do, without doing it: blocks, memory, disk, time."""
    from seg_batch.cli.display.lines import plan_facts, plan_lines
    from seg_batch.inference.measuring.disk import require_disk
    from seg_batch.inference.measuring.time import measure_speed
    from seg_batch.inference.outputs import read_report
    from seg_batch.inference.request import prepare

    facts, refusal = [], None
    for request in requests(inputs, stack, mosaic, arguments, options, is_dry=True):
        prepared = prepare(request)
        if measure:
            measure_speed(prepared.plan, prepared.model)
        try:
            require_disk(prepared, read_report(prepared.outputs))
        except PlanError as error:
            refusal = refusal or error
        facts.append(plan_facts(prepared))
        if not as_json:
            typer.echo(plan_lines(prepared))
    if as_json:
        typer.echo(json.dumps(facts[0] if len(facts) == 1 else facts))
    if refusal is not None:
        raise refusal
