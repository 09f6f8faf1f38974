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

Paths = Annotated[
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
    paths: Paths,
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
            data, options = _dataset_in(paths, how), PredictOptions(**vars(applied))
            common |= {"options": options, **how.keywords("split")}
            result = evaluate_bundle(model, data, **common)
        else:
            common |= how.keywords("images", "classes")
            result = evaluate_files(*_files_in(paths, applied), **common)
    if as_json:
        typer.echo(json.dumps(result, allow_nan=False))
    elif not quiet:
        _warn(result["warnings"])
        typer.echo("\n".join([*_lines(result), str(Path(output) / EVALUATION_PAGE)]))
    _require_met(result)


def _warn(lines: list[str]) -> None:
    for text in lines[:MOST_WARNINGS]:
        typer.echo(f"segbatch: warning: {text}", err=True)
    if (further := len(lines) - MOST_WARNINGS) > 0:
        typer.echo(f"segbatch: {further} more warnings are on the page", err=True)


def _dataset_in(paths: list[str], how: EvaluateOptions) -> str:
    if len(paths) != 1:
        raise InputError(
            f"--model takes one patch dataset or manifest, {len(paths)} paths were given: evaluate "
            "label files without --model"
        )
    for name in ("images", "classes"):
        if getattr(how, name) is not None:
            raise InputError(f"--{name} is for label files, a bundle knows its own: drop it")
    return paths[0]


def _files_in(paths: list[str], applied: ModelOptions) -> tuple[str, str]:
    for name, option in declared(ModelOptions).items():
        if getattr(applied, name) != option.unsaid:
            raise InputError(
                f"{option.flag} is for a bundle, labels are predicted already: drop it"
            )
    if len(paths) != 2:
        raise InputError(
            f"give PREDICTIONS and TRUTH, {len(paths)} paths were given; for a bundle on held-out "
            "data name it with --model"
        )
    return paths[0], paths[1]


def _lines(result: dict[str, Any]) -> list[str]:
    from seg_batch.cli.display.model_lines import interval_text

    scores = result["scores"]
    overall = scores["overall"]
    lines = [
        f"{counted_plainly(len(scores['cases']), 'case')}: mean Dice {interval_text(overall['mean_dice'])}, "
        f"accuracy {interval_text(overall['accuracy'])}"
    ]
    width = max(map(len, scores["classes"]))
    rows = scores["classes"].items()
    lines += [f"  {name:<{width}}  Dice {interval_text(row['dice'])}" for name, row in rows]
    return lines + [_baseline(row) for row in result.get("baselines", ())]


def _baseline(row: dict[str, Any]) -> str:
    dice, accuracy = (
        "undefined" if row[key] is None else f"{row[key]:.3f}" for key in ("mean_dice", "accuracy")
    )
    return f"  {row['rule']} ({row['words']}): mean Dice {dice}, accuracy {accuracy}"


def _require_met(result: dict[str, Any]) -> None:
    """Print a line for each requirement that is not met, and exit with status 3.

    Truth without a prediction meets no requirement.
    """
    if not result["requirements"]:
        return
    unmet = [row for row in result["requirements"] if not row["met"]]
    missing = result.get("unmatched", {}).get("truth", [])
    if missing:
        typer.echo(f"segbatch: {len(missing)} files of truth have no prediction", err=True)
    for row in unmet:
        value = "nothing, it is undefined here" if row["found"] is None else f"{row['found']:g}"
        typer.echo(f"segbatch: required {row['require']}, found {value}", err=True)
    if unmet or missing:
        raise typer.Exit(UNMET)
