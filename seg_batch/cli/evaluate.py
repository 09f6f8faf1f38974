"""The command ``evaluate``, added to the command line by ``register``."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from seg_batch.cli.options import Applied, Json, Overwrite, Quiet, spread
from seg_batch.core.errors import InputError
from seg_batch.core.run_files import EVALUATION_PAGE
from seg_batch.core.units import counted_plainly

UNMET = 3
MOST_WARNINGS = 10


Given = Annotated[
    list[str],
    typer.Argument(
        metavar="PREDICTIONS TRUTH | DATA",
        help="Label images against true ones, files or folders; with --model, a patch dataset, a "
        "manifest, a folder of pairs or IMAGE=LABEL.",
    ),
]
Output = Annotated[str, typer.Option("-o", "--output", help="Folder for the page, JSON and CSV.")]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model", help="Evaluate this bundle on what was held out; repeatable, as for predict."
    ),
]
Split = Annotated[str, typer.Option(help="test, validation, training or all.")]
Images = Annotated[
    str | None, typer.Option(help="The images, file or folder, to show beside the labels.")
]
Classes = Annotated[
    str | None, typer.Option(help="0=background,3=forest, or a bundle that names them.")
]
Ignore = Annotated[
    list[float] | None, typer.Option(help="A label value that counts nowhere; repeatable.")
]
Required = Annotated[
    list[str] | None,
    typer.Option("--require", help="'dice>=0.8' or 'dice[forest]>=0.84', else status 3."),
]
Pictures = Annotated[int, typer.Option(min=0, help="Cases shown, worst and best first.")]


def evaluate(
    given: Given,
    output: Output = "evaluation",
    model: Models = None,
    split: Split = "test",
    *,
    applied: Applied,
    images: Images = None,
    classes: Classes = None,
    ignore: Ignore = None,
    requirement: Required = None,
    pictures: Pictures = 20,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score predictions against truth, or a bundle on held-out data; writes a page."""
    from seg_batch.cli.display.bars import ScoreBar
    from seg_batch.config.predict_options import Options
    from seg_batch.evaluation.evaluate import evaluate_bundle, evaluate_files

    common: dict[str, Any] = {
        "output": output,
        "ignore": ignore or [],
        "requirements": requirement or [],
        "pictures": pictures,
        "overwrite": overwrite,
    }
    with ScoreBar(quiet or as_json) as bar:
        if model:
            data = _one(given, images, classes)
            options = Options(**applied.settings())
            result = evaluate_bundle(
                model, data, split=split, options=options, callback=bar, **common
            )
        else:
            left, right = _two(given, applied)
            result = evaluate_files(
                left, right, images=images, classes=classes, callback=bar, **common
            )
    if as_json:
        typer.echo(json.dumps(result, allow_nan=False))
    elif not quiet:
        _warn(result["warnings"])
        typer.echo("\n".join(_lines(result)))
        typer.echo(str(Path(output) / EVALUATION_PAGE))
    _require_met(result)


def _warn(lines: list[str]) -> None:
    for text in lines[:MOST_WARNINGS]:
        typer.echo(f"segbatch: warning: {text}", err=True)
    if (more := len(lines) - MOST_WARNINGS) > 0:
        typer.echo(f"segbatch: {more} more warnings are on the page", err=True)


def _one(given: list[str], images: str | None, classes: str | None) -> str:
    if len(given) != 1:
        raise InputError(
            f"--model takes one patch dataset or manifest, {len(given)} paths were given: evaluate "
            "label files without --model"
        )
    for name, value in (("--images", images), ("--classes", classes)):
        if value is not None:
            raise InputError(f"{name} is for label files, a bundle knows its own: drop it")
    return given[0]


def _two(given: list[str], applied: Applied) -> tuple[str, str]:
    for field in fields(applied):
        if getattr(applied, field.name) != field.default:
            raise InputError(
                f"--{field.name} is for a bundle, labels are predicted already: drop it"
            )
    if len(given) != 2:
        raise InputError(
            f"give PREDICTIONS and TRUTH, {len(given)} paths were given; for a bundle on held-out "
            "data name it with --model"
        )
    return given[0], given[1]


def _lines(result: dict[str, Any]) -> list[str]:
    from seg_batch.cli.display.lines import interval

    scores = result["scores"]
    overall = scores["overall"]
    count = len(scores["cases"])
    lines = [
        f"{counted_plainly(count, 'case')}: mean Dice {interval(overall['mean_dice'])}, "
        f"accuracy {interval(overall['accuracy'])}"
    ]
    width = max(len(name) for name in scores["classes"])
    for name, row in scores["classes"].items():
        lines.append(f"  {name:<{width}}  Dice {interval(row['dice'])}")
    return lines


def _require_met(result: dict[str, Any]) -> None:
    """A line for each requirement that is not met, and status 3: truth without a prediction meets none."""
    unmet = [one for one in result["requirements"] if not one["met"]]
    missing = result.get("unmatched", {}).get("truth", [])
    if result["requirements"] and missing:
        typer.echo(f"segbatch: {len(missing)} files of truth have no prediction", err=True)
    for one in unmet:
        found = "nothing, it is undefined here" if one["found"] is None else f"{one['found']:g}"
        typer.echo(f"segbatch: required {one['require']}, found {found}", err=True)
    if unmet or (result["requirements"] and missing):
        raise typer.Exit(UNMET)


def register(app: typer.Typer) -> None:
    app.command()(spread(evaluate))
