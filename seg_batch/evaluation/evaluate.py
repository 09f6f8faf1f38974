"""The command ``evaluate``: predictions against truth, or a bundle on held-out data.

Cases are scored one after the other and block by block; only the counts of each are kept and, for
some, its pictures. The result is one JSON-ready dict, and a folder with a page that shows it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

from seg_batch.config.card import ModelCard
from seg_batch.config.options import as_checked
from seg_batch.config.predict_options import PredictOptions
from seg_batch.config.recipe import read_recipe
from seg_batch.core import events
from seg_batch.core.callbacks import Callback, Callbacks
from seg_batch.core.errors import BundleError, InputError, SegbatchError
from seg_batch.datasets.label_classes import of_card, of_text
from seg_batch.evaluation import thresholds
from seg_batch.evaluation.baselines.sample import sample_of
from seg_batch.evaluation.baselines.scores import Baselines, not_beaten
from seg_batch.evaluation.file_pairs import classes_in_files, open_labelled_case, require_one_grid
from seg_batch.evaluation.held_out_cases import EvalSet, Learnt, collect_cases, with_patch_kept
from seg_batch.evaluation.matching import Matches, match
from seg_batch.evaluation.predict_region import BlockStats
from seg_batch.evaluation.result import EvaluationRun, open_output, write_result
from seg_batch.evaluation.score import RegionScorer
from seg_batch.evaluation.score_case import LabelledCase, count_case
from seg_batch.inference import bundles
from seg_batch.inference.ensemble import together
from seg_batch.inference.loading.named import OneModel, named_model
from seg_batch.inference.loading.predictors import load_predictor_of
from seg_batch.inference.planning.unseen_views import tta_warnings
from seg_batch.inference.request import engine_of
from seg_batch.inference.sliding_window.grid import as_card_says

PICTURES = 20
_MODEL_OPTIONS = (
    "patch",
    "overlap",
    "taper",
    "engine",
    "precision",
    "tta",
)  # that the result lists


def evaluate_files(
    predictions: str | Path,
    truth: str | Path,
    *,
    output: str | Path | None = None,
    images: str | Path | None = None,
    classes: str | None = None,
    ignore: Sequence[float] = (),
    requirements: Sequence[str] = (),
    pictures: int = PICTURES,
    overwrite: bool = False,
    callback: Callback | None = None,
) -> dict[str, Any]:
    """Score label images against true ones, files or folders, matched by name.

    ``classes``: ``0=background,3=forest`` or a bundle; default: those of the report beside each
    prediction, else the values found. ``ignore``: values that count nowhere, besides nodata.
    ``output``: a folder for evaluation.json, evaluation.csv and index.html; None: nothing is
    written. Returns what evaluation.json holds. InputError for files that can't be compared,
    naming what differs; OutputError for a folder in the way.
    """
    checks = thresholds.parse(list(requirements))
    for check in checks:
        if check.name in ("ece", "seam_jump"):
            raise InputError(
                f"--require {check.text}: {check.name} needs the model's probabilities, and "
                "label files have none: use --model"
            )
    matches = match(predictions, truth, images)
    callback = Callbacks(callback)
    with open_output(output, overwrite) as folder:
        callback.on(events.Stage("reading the classes"))
        for pair in matches.cases:
            require_one_grid(pair)
        table = of_text(classes) if classes else classes_in_files(matches.cases, tuple(ignore))
        run = EvaluationRun(table, checks, pictures, callback)
        callback.on(events.StepsPlanned(len(matches.cases)))
        for pair in matches.cases:
            callback.on(events.Stage(pair.case))
            with open_labelled_case(pair, table, tuple(ignore)) as case:
                _add_case(run, case)
        result = run.result("predictions", seams=_seams_of(run), calibration=None)
        result["warnings"] = _unmatched(matches) + run.warnings
        result["unmatched"] = {
            "predictions": [str(path) for path in matches.only_predictions],
            "truth": [str(path) for path in matches.only_truth],
        }
        write_result(folder, result, run)
    return result


def evaluate_bundle(
    model: OneModel | Sequence[OneModel],
    data: str | Path,
    *,
    split: str = "test",
    output: str | Path | None = None,
    options: PredictOptions | None = None,
    ignore: Sequence[float] = (),
    requirements: Sequence[str] = (),
    pictures: int = PICTURES,
    overwrite: bool = False,
    callback: Callback | None = None,
) -> dict[str, Any]:
    """Score a bundle on one ``split`` of a patch dataset or a manifest, stitched as predict does.

    ``model``: a bundle's name or path, a card with any callable, or a list of such, as for
    ``predict``. ``options``: overlap, taper, precision, tta and batch, as for ``predict``. Other
    arguments as for ``evaluate_files``. Also counts calibration (``calibration.error``: ECE) and
    seams. BundleError for a bundle that is damaged.
    """
    checks = thresholds.parse(list(requirements))
    chosen = named_model(model)
    _require_same_grid(chosen.card)
    options = as_checked(options or PredictOptions())
    engine = engine_of(chosen, options)
    options = replace(options, engine=engine.engine, precision=engine.precision)
    options = as_card_says(options, chosen.card)
    options = with_patch_kept(Path(data), options)
    run = EvaluationRun(of_card(chosen.card), checks, pictures, Callbacks(callback))
    held_out = collect_cases(
        Path(data), split, chosen.card, options, tuple(ignore), learnt_of(chosen)
    )
    with ExitStack() as stack:
        folder = stack.enter_context(open_output(output, overwrite))
        work = stack.enter_context(tempfile.TemporaryDirectory(dir=folder, prefix="work-"))
        run.callback.on(events.Stage("loading the model"))
        predictor, stats = load_predictor_of(chosen, options), BlockStats()
        scorer = RegionScorer(together(chosen.cards), predictor, options, Path(work), stats)
        sample, names = sample_of(Path(data), held_out), chosen.card.channel_names or ()
        plainly = Baselines.of(run.classes, sample, names)
        run.callback.on(events.StepsPlanned(len(held_out.cases)))
        for case in held_out.cases:
            run.callback.on(events.Stage(case.name))
            with held_out.open(case) as (region, spacing):
                plainly.add(region)
                run.add(*scorer.score(case.name, region, spacing, case.facts, run.advance))
        result = run.result("bundle", **stats.summary(run.classes.names))
        result |= {"split": split, "data": held_out.facts, "model": _model_facts(chosen, options)}
        result["baselines"] = plainly.result()
        overall = result["scores"]["overall"]
        beaten = not_beaten(chosen.card.name, overall, result["baselines"])
        leaks = [line for m in chosen.all for line in _leaks(m.card, held_out)]
        told = [*tta_warnings(chosen, options.tta), *held_out.warnings]
        result["warnings"] = told + leaks + beaten + run.warnings
        write_result(folder, result, run)
    return result


def learnt_of(model: bundles.Model) -> Learnt:
    """By the recipe beside a bundle; what is usual where there is none."""
    if model.path is None:
        return Learnt()
    try:
        recipe = read_recipe(model.path / "recipe.yaml")
    except SegbatchError:
        return Learnt()
    return Learnt(recipe.cut.ignore, recipe.vector_labels)


def _require_same_grid(card: ModelCard) -> None:
    if card.finer > 1:
        raise BundleError(
            f"{card.name} makes labels on a grid {card.finer} times finer than its image's, on which "
            "held-out truth lies: predict, and evaluate the products against labels of their grid"
        )


def _add_case(run: EvaluationRun, case: LabelledCase) -> None:
    path = case.facts["found"]["path"]
    if case.facts.get("as_written") is False:
        run.warnings.append(f"{path} is not the file that the report beside it tells of")
    if case.facts.get("status") == "partial":
        run.warnings.append(f"{path} is marked as partial: it has holes")
    run.add(case, count_case(case, len(run.classes), on_block=run.advance))


def _model_facts(model: bundles.Model, options: PredictOptions) -> dict[str, Any]:
    card = model.card
    return {
        "name": card.name,
        "members": model.names[1:],
        "path": None if model.path is None else str(model.path),
        "weights_sha256": card.weights_sha256,
        "licence": card.licence,
        "training_data": card.training_data,
        **{name: getattr(options, name) for name in _MODEL_OPTIONS},
    }


def _leaks(card: ModelCard, held_out: EvalSet) -> list[str]:
    """A warning where the card says that the bundle was trained on what is scored here."""
    seen = sorted({case.case for case in held_out.cases if case.seen_by(card)})
    if not seen:
        return []
    some = ", ".join(seen[:5]) + (", ..." if len(seen) > 5 else "")
    return [f"{card.name} was trained on {len(seen)} of these cases ({some}): scores flatter it"]


def _seams_of(run: EvaluationRun) -> dict[str, Any] | None:
    """Seams of labels, where segbatch predicted them and their tiles are known; no probabilities."""
    if not run.seams or len({len(s.pairs) for s in run.seams}) > 1:
        return None
    summary = reduce(add, run.seams).summary(run.classes.names, len(run.seams))
    return {**summary, "jump": None, "mean_jump": None}


def _unmatched(matches: Matches) -> list[str]:
    lines = []
    for here, there, paths in (
        ("prediction", "truth", matches.only_predictions),
        ("truth", "prediction", matches.only_truth),
    ):
        if paths:
            some = ", ".join(p.name for p in paths[:5]) + (", ..." if len(paths) > 5 else "")
            lines.append(
                f"{len(paths)} files have no {there} of their name, not scored: {some} ({here})"
            )
    return lines
