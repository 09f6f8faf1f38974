"""The commands ``patches`` and ``train``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from seg_batch.cli.options import Json, Overwrite, Quiet, show
from seg_batch.config.command_options import CutOptions, StartOptions, TrainOverrides

Output = Annotated[str, typer.Option("-o", "--output", help="Where the result goes.")]


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
    cut: CutOptions,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Cut pairs of image and label into a patch dataset, with the tiler of predict. A killed run goes
    on when the same command is given again."""
    from seg_batch.cli.display.bars import CutBar
    from seg_batch.datasets.build import make_patches

    with CutBar(quiet or as_json) as bar:
        made = make_patches(pairs, output, recipe, overwrite=overwrite, callback=bar, **vars(cut))
    show(made, _patches_line, as_json, quiet)


def _patches_line(made: dict[str, Any]) -> str:
    counts = ", ".join(f"{n} {part}" for part, n in made["patches"].items())
    return f"{made['output']}  ({made['cases']} cases; patches: {counts})"


def train(
    data: Annotated[
        list[str],
        typer.Argument(metavar="DATA...", help="A dataset, a manifest, or pairs as for patches."),
    ],
    output: Output,
    overrides: TrainOverrides,
    start: StartOptions,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fit a network to labelled data; writes a bundle, scored on what was held out. The same
    command again resumes."""
    from seg_batch.cli.display.bars import TrainBar
    from seg_batch.cli.display.model_lines import score_lines
    from seg_batch.training.train import train as fit

    with TrainBar(quiet or as_json) as bar:
        card = fit(data, output, wishes=overrides, overwrite=overwrite, callback=bar, **vars(start))
    show(card, lambda card: [*score_lines(card), output], as_json, quiet)
