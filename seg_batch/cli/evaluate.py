"""The command ``evaluate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from seg_batch.cli.options import Json, Overwrite, Quiet
from seg_batch.config.command_options import EvaluateOptions
from seg_batch.config.options import declared
from seg_batch.config.predict_options import ModelOptions, PredictOptions
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


def evaluate(
    given: Given,
    output: Output = "evaluation",
    model: Models = None,
    *,
    how: EvaluateOptions,
    applied: ModelOptions,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score predictions against truth, or a bundle on held-out data; writes a page."""
    from seg_batch.cli.display.bars import ScoreBar
    from seg_batch.evaluation.evaluate import evaluate_bundle, evaluate_files

    with ScoreBar(quiet or as_json) as bar:
        common: dict[str, Any] = {"output": output, "overwrite": overwrite, "callback": bar}
        if model:
            data, options = _one(given, how), PredictOptions(**vars(applied))
            common |= {"options": options, **how.keywords("split")}
            result = evaluate_bundle(model, data, **common)
        else:
            common |= how.keywords("images", "classes")
            result = evaluate_files(*_two(given, applied), **common)
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


def _one(given: list[str], how: EvaluateOptions) -> str:
    if len(given) != 1:
        raise InputError(
            f"--model takes one patch dataset or manifest, {len(given)} paths were given: evaluate "
            "label files without --model"
        )
    for name in ("images", "classes"):
        if getattr(how, name) is not None:
            raise InputError(f"--{name} is for label files, a bundle knows its own: drop it")
    return given[0]


def _two(given: list[str], applied: ModelOptions) -> tuple[str, str]:
    for name, option in declared(ModelOptions).items():
        if getattr(applied, name) != option.unsaid:
            raise InputError(
                f"{option.flag} is for a bundle, labels are predicted already: drop it"
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
