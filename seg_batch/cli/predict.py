"""The commands ``predict`` and ``plan``, added to the command line by ``register``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seg_batch.cli.options import Applied, Json, Quiet, spread
from seg_batch.core.errors import PlanError, SegbatchError
from seg_batch.core.text import legible

if TYPE_CHECKING:
    from seg_batch.config.predict_options import Options
    from seg_batch.inference.request import Request

Inputs = Annotated[list[str], typer.Argument(metavar="INPUT...", help="Scenes and volumes.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what stands at the output.")]
KeepStore = Annotated[bool, typer.Option("--keep-store", help="Keep the Zarr work store.")]


@dataclass(frozen=True)
class Asked:
    """What ``predict`` and ``plan`` are both told beside how to apply the model; each field is an
    option."""

    output: Annotated[
        str | None, typer.Option("-o", "--output", help="File, or folder for several inputs.")
    ] = None
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Bundle by name or path, or probe; repeatable: probabilities are averaged."
        ),
    ] = None
    cluster: Annotated[
        str,
        typer.Option(help="auto, inline, local, tcp://host:8786, tls://host:8786 or SPEC.yaml."),
    ] = "auto"
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0: one per GPU, or one.")] = 0
    memory: Annotated[str | None, typer.Option(help="What one worker may use, like 8GiB.")] = None
    batch: Annotated[
        int, typer.Option(min=0, help="Patches per model call; 0: chosen from memory.")
    ] = 0
    block: Annotated[str | None, typer.Option(help="Block shape, like 2048,2048.")] = None
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Keep them too, as uint8.")
    ] = False
    volume: Annotated[int | None, typer.Option(min=0, help="Which of a 4-D file.")] = None

    def options(self, applied: Applied) -> Options:
        """The plan's options, or PlanError naming the one that makes no sense."""
        from seg_batch.config.predict_options import Options
        from seg_batch.core.units import parse_bytes

        try:
            memory_bytes = parse_bytes(self.memory) if self.memory else 0
            block = tuple(int(n) for n in self.block.split(",")) if self.block else None
        except (ValueError, OverflowError) as error:
            raise PlanError(f"{error}; sizes look like 8GiB, block shapes like 2048,2048") from None
        return Options(
            **applied.settings(),
            probabilities=self.probabilities,
            memory_bytes=memory_bytes,
            workers=self.workers,
            batch=self.batch,
            block=block,
        )

    def requests(self, inputs: list[str], applied: Applied, **more: Any) -> list[Request]:
        """One request per input; ``more``: further fields of each."""
        from seg_batch.inference.request import Request

        options = self.options(applied)
        return [
            Request(
                input=name,
                output=self.output,
                model=self.model,
                options=options,
                cluster=self.cluster,
                volume=self.volume,
                many=len(inputs) > 1,
                **more,
            )
            for name in inputs
        ]


def predict(
    inputs: Inputs,
    asked: Asked,
    applied: Applied,
    overwrite: Overwrite = False,
    keep_store: KeepStore = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Segment scenes and volumes. The same command again resumes."""
    from seg_batch.cli.display.bars import Bar
    from seg_batch.cli.display.lines import summary
    from seg_batch.inference.predict import partial_line, predict_one

    worst, shown = 0, list[Mapping[str, Any]]()
    for request in asked.requests(inputs, applied, overwrite=overwrite, keep_store=keep_store):
        try:
            with Bar(quiet or as_json) as bar:
                report = predict_one(request, bar)
        except SegbatchError as error:
            if not request.many:
                raise
            typer.echo(f"segbatch: {legible(error.message)}", err=True)
            shown.append({"input": request.input, "status": "refused", "error": error.message})
            worst = max(worst, error.status)
            continue
        shown.append(report)
        if report["status"] != "complete":
            worst = max(worst, 3)
            typer.echo(f"segbatch: {partial_line(report)}", err=True)
        if not quiet and not as_json:
            typer.echo(summary(report))
    if as_json:
        typer.echo(json.dumps(shown[0] if len(inputs) == 1 else shown))
    raise typer.Exit(worst)


def plan(inputs: Inputs, asked: Asked, applied: Applied, as_json: Json = False) -> None:
    """Show what predict would do, without doing it: blocks, memory, disk, time."""
    from seg_batch.cli.display.lines import plan_facts, plan_lines
    from seg_batch.inference.request import prepare

    facts = []
    for request in asked.requests(inputs, applied):
        prepared = prepare(request)
        facts.append(plan_facts(prepared))
        if not as_json:
            typer.echo(plan_lines(prepared))
    if as_json:
        typer.echo(json.dumps(facts[0] if len(inputs) == 1 else facts))


def register(app: typer.Typer) -> None:
    app.command()(spread(predict))
    app.command()(spread(plan))
