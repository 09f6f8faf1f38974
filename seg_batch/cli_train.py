"""The commands ``patches`` and ``train``, added to the command line by ``register``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

Output = Annotated[str, typer.Option("-o", "--output", help="Where the result goes.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier result.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")]


def patches(
    pairs: Annotated[
        list[str],
        typer.Argument(
            metavar="PAIRS...",
            help="IMAGE=LABEL, a folder of images/ and labels/, or a manifest (YAML, CSV).",
        ),
    ],
    output: Output,
    recipe: Annotated[str, typer.Option(help="Classes, cut and hold-out, as YAML.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Over the recipe: part.key=value.")
    ] = None,
    align: Annotated[
        str | None, typer.Option(help="nearest: bring labels on another grid to their image's.")
    ] = None,
    fold: Annotated[int | None, typer.Option(min=0, help="Of hold_out.folds, from 0.")] = None,
    cluster: Annotated[str, typer.Option(help="auto, inline, local or tcp://host:8786.")] = "auto",
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Cut pairs of image and label into a patch dataset, with the tiler of predict. A killed run goes
    on when the same command is given again."""
    from seg_batch.progress import CutBar
    from seg_batch.verbs.patches import make_patches

    with CutBar(quiet or as_json) as bar:
        found = make_patches(
            pairs,
            output,
            recipe,
            settings=settings or (),
            align=align,
            fold=fold,
            cluster=cluster,
            workers=workers,
            overwrite=overwrite,
            listener=bar,
        )
    if as_json:
        typer.echo(json.dumps(found))
    elif not quiet:
        counts = ", ".join(f"{n} {part}" for part, n in found["patches"].items())
        typer.echo(f"{found['output']}  ({found['cases']} cases; patches: {counts})")


def train(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="From segbatch patches.")],
    output: Output,
    minutes: Annotated[float | None, typer.Option(help="Stop after so long.")] = None,
    steps: Annotated[int | None, typer.Option(help="Stop after so many steps.")] = None,
    from_bundle: Annotated[
        str | None, typer.Option("--from", help="Start from the weights of this bundle.")
    ] = None,
    arch: Annotated[str, typer.Option(help="The network.")] = "anunet",
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fit ANU-Net on a patch dataset; writes a bundle, scored on what was held out."""
    from seg_batch.progress import TrainBar
    from seg_batch.verbs.train import train as fit

    with TrainBar(quiet or as_json) as bar:
        card = fit(
            dataset,
            output,
            minutes=minutes,
            steps=steps,
            from_bundle=from_bundle,
            arch=arch,
            overwrite=overwrite,
            listener=bar,
        )
    if as_json:
        typer.echo(json.dumps(card))
    elif not quiet:
        for part in ("validation", "test"):
            if part in card["scores"]:
                table = card["scores"][part]
                typer.echo(
                    f"{part}: accuracy {table['accuracy']:.4f}, mean Dice {table['mean_dice']:.4f}"
                    f"  ({table['measured_on']})"
                )
        typer.echo(output)


def register(app: typer.Typer) -> None:
    app.command()(patches)
    app.command()(train)
