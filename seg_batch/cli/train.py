"""The commands ``patches`` and ``train``, added to the command line by ``register``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from seg_batch.cli.options import Json, Overwrite, Quiet

Output = Annotated[str, typer.Option("-o", "--output", help="Where the result goes.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Over the recipe: part.key=value.")
]
Align = Annotated[
    str | None, typer.Option(help="nearest: bring labels on another grid to their image's.")
]
Fold = Annotated[int | None, typer.Option(min=0, help="Of hold_out.folds, from 0.")]


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
    settings: Settings = None,
    align: Align = None,
    fold: Fold = None,
    cluster: Annotated[
        str,
        typer.Option(help="auto, inline, local, tcp://host:8786, tls://host:8786 or SPEC.yaml."),
    ] = "auto",
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Cut pairs of image and label into a patch dataset, with the tiler of predict. A killed run goes
    on when the same command is given again."""
    from seg_batch.cli.display.bars import CutBar
    from seg_batch.datasets.build import make_patches

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
            callback=bar,
        )
    if as_json:
        typer.echo(json.dumps(found))
    elif not quiet:
        counts = ", ".join(f"{n} {part}" for part, n in found["patches"].items())
        typer.echo(f"{found['output']}  ({found['cases']} cases; patches: {counts})")


def train(
    data: Annotated[
        list[str],
        typer.Argument(metavar="DATA...", help="A dataset, a manifest, or pairs as for patches."),
    ],
    output: Output,
    recipe: Annotated[str | None, typer.Option(help="YAML, put over what is advised.")] = None,
    settings: Settings = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after so long.")] = None,
    steps: Annotated[int | None, typer.Option(help="Stop after so many steps.")] = None,
    arch: Annotated[
        str | None,
        typer.Option(help="anunet, unet, unet_se and so on: segbatch models --archs lists them."),
    ] = None,
    from_bundle: Annotated[
        str | None, typer.Option("--from", help="Start from the weights of this bundle.")
    ] = None,
    teacher: Annotated[str | None, typer.Option(help="Follow this bundle's outputs, too.")] = None,
    align: Align = None,
    fold: Fold = None,
    tensorboard: Annotated[str | None, typer.Option(help="Folder for event files.")] = None,
    cluster: Annotated[str, typer.Option(help="Where pairs are cut.")] = "auto",
    workers: Annotated[int, typer.Option(min=1, help="Processes that cut pairs.")] = 1,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fit a network to labelled data; writes a bundle, scored on what was held out. The same
    command again resumes."""
    from seg_batch.cli.display.bars import TrainBar
    from seg_batch.cli.display.lines import score_lines
    from seg_batch.training.train import train as fit
    from seg_batch.training.training_set import Wishes

    asked = {"fit.minutes": minutes, "fit.steps": steps, "network.arch": arch}
    short = [f"{key}={value}" for key, value in asked.items() if value is not None]
    wishes = Wishes(recipe, (*(settings or ()), *short), align, fold, cluster, workers)
    with TrainBar(quiet or as_json) as bar:
        card = fit(
            data,
            output,
            wishes=wishes,
            from_bundle=from_bundle,
            teacher=teacher,
            tensorboard=tensorboard,
            overwrite=overwrite,
            callback=bar,
        )
    if as_json:
        typer.echo(json.dumps(card))
    elif not quiet:
        typer.echo("\n".join([*score_lines(card), output]))


def register(app: typer.Typer) -> None:
    app.command()(patches)
    app.command()(train)
