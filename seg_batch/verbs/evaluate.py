"""The verb ``evaluate``: predictions against truth, or a bundle on what was held out.

Cases are scored one after the other and block by block; of each remain its counts and, for some,
its pictures. The result is one JSON-ready dict, and a folder with a page that shows it.
"""

from __future__ import annotations

import csv
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from seg_batch import bundles, machine
from seg_batch.card import ModelCard
from seg_batch.errors import InputError
from seg_batch.metrics import CaseScores, dice, mean
from seg_batch.metrics.seams import SeamCounts
from seg_batch.plan import Options
from seg_batch.sinks.publish import writing_folder
from seg_batch.verbs import require
from seg_batch.verbs.classes import Classes, of_card, of_text
from seg_batch.verbs.counting import Counted, Labelled, count
from seg_batch.verbs.held_out import Watch
from seg_batch.verbs.labelled import (
    FilePair,
    PredictedRegion,
    classes_of,
    open_pair,
    provenance,
)
from seg_batch.verbs.matching import Matches, match
from seg_batch.verbs.page import page
from seg_batch.verbs.pictures import Gallery, draw
from seg_batch.verbs.regions import Collection, Part, collect
from seg_batch.verbs.require import Requirement
from seg_batch.verbs.scoring import scored_region, summary, watched
from seg_batch.version import package_version, versions

PICTURES = 20
RESULT = "evaluation.json"


class Listener(Protocol):
    """What is told of an evaluation as it goes; a case is done when its shares sum to 1."""

    def stage(self, name: str) -> None: ...

    def planned(self, cases: int) -> None: ...

    def moved(self, share: float) -> None: ...


class Silent:
    """The listener that does not listen."""

    def stage(self, name: str) -> None: ...

    def planned(self, cases: int) -> None: ...

    def moved(self, share: float) -> None: ...


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
    listener: Listener | None = None,
) -> dict[str, Any]:
    """Score label images against true ones, files or folders, matched by name.

    ``classes``: ``0=background,3=forest`` or a bundle; default: those of the report beside each
    prediction, else the values found. ``ignore``: values that count nowhere, besides nodata.
    ``output``: a folder for evaluation.json, evaluation.csv and index.html; None: nothing is
    written. Returns what evaluation.json holds. InputError for files that can't be compared,
    naming what differs; OutputError for a folder in the way.
    """
    asked = require.parse(list(requirements))
    _require_measured(asked, ("ece", "seam_jump"))
    found = match(predictions, truth, images)
    listener = listener or Silent()
    with _written(output, overwrite) as folder:
        listener.stage("reading the classes")
        table = of_text(classes) if classes else classes_of(found.cases, tuple(ignore))
        run = _Run(table, asked, pictures, listener)
        listener.planned(len(found.cases))
        for pair in found.cases:
            listener.stage(pair.case)
            _add_pair(run, open_pair(pair, table, tuple(ignore)))
        result = run.result("predictions", seams=_seams_of(run), calibration=None)
        result |= {"warnings": _unmatched(found) + run.warnings, "unmatched": _names(found)}
        _write(folder, result, run)
    return result


def evaluate_bundle(
    model: str,
    data: str | Path,
    *,
    split: str = "test",
    output: str | Path | None = None,
    options: Options | None = None,
    ignore: Sequence[float] = (),
    requirements: Sequence[str] = (),
    pictures: int = PICTURES,
    overwrite: bool = False,
    listener: Listener | None = None,
) -> dict[str, Any]:
    """Score a bundle on one ``split`` of a patch dataset or a manifest, stitched as predict does.

    ``options``: overlap, taper, precision and batch, as for predict. Else as ``evaluate_files``;
    also counts calibration (``calibration.error``: ECE) and seams. BundleError for a bundle that is
    damaged.
    """
    asked = require.parse(list(requirements))
    chosen = bundles.checked(bundles.find(model))
    options = _settled(options or Options(), chosen)
    run = _Run(of_card(chosen.card), asked, pictures, listener or Silent())
    regions = collect(Path(data), split, chosen.card, options, tuple(ignore))
    with ExitStack() as stack:
        folder = stack.enter_context(_written(output, overwrite))
        work = stack.enter_context(tempfile.TemporaryDirectory(dir=folder, prefix="work-"))
        run.listener.stage("loading the model")
        predictor, watch = _predictor(chosen, options), Watch(len(chosen.card.classes))
        run.listener.planned(len(regions.parts))
        for part in regions.parts:
            run.listener.stage(part.name)
            _add_region(run, regions, part, predictor, options, Path(work), watch)
        result = run.result("bundle", **watched(watch, run.classes.names))
        result |= {"split": split, "data": regions.facts, "model": _model_facts(chosen, options)}
        result["warnings"] = _leaks(chosen.card, regions) + run.warnings
        _write(folder, result, run)
    return result


@dataclass
class _Run:
    """What is collected while cases are scored."""

    classes: Classes
    asked: list[Requirement]
    pictures: int
    listener: Listener
    scores: dict[str, CaseScores] = field(default_factory=dict)
    facts: list[dict[str, Any]] = field(default_factory=list)
    seams: list[SeamCounts] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    start: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        self.gallery = Gallery(self.pictures)
        for one in self.asked:
            one.require_classes(self.classes.names)

    def add(self, case: Labelled, counted: Counted, facts: dict[str, Any]) -> None:
        self.scores[case.name] = counted.scores
        self.seams += [counted.seams] if counted.seams else []
        numbers = {"not_scored": counted.not_scored, "not_predicted": counted.not_predicted}
        self.facts.append({"case": case.name, "box": str(case.box), **numbers, **facts})
        if counted.not_predicted:
            self.warnings.append(
                f"{case.name}: {counted.not_predicted} voxels with a true class have no prediction; "
                "they count in no score"
            )
        confusion = counted.scores.confusion
        if not confusion.any():
            self.warnings.append(f"{case.name}: no voxel has both a true class and a prediction")
        kept = [k for k in range(len(self.classes)) if k != self.classes.background]
        self.gallery.offer(mean(dice(confusion)[kept]), case.name, lambda: draw(case, self.classes))

    def result(self, kind: str, **measured: Any) -> dict[str, Any]:
        """What evaluation.json holds, but for where the cases came from."""
        names, background = self.classes.names, self.classes.background
        result: dict[str, Any] = {
            "segbatch": package_version(),
            "evaluated": kind,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - self.start, 3),
            "classes": self.classes.to_json(),
            "classes_from": self.classes.origin,
            "background": None if background is None else names[background],
            "scores": summary(self.scores, names, background),
            **measured,
            "cases": self.facts,
            "versions": versions(),
        }
        result["requirements"] = [one.check(result) for one in self.asked]
        return result


def _add_pair(run: _Run, pair: FilePair) -> None:
    try:
        facts = provenance(pair)
        if facts.get("as_written") is False:
            run.warnings.append(
                f"{facts['found']['path']} is not the file that the report beside it tells of"
            )
        if facts.get("status") == "partial":
            run.warnings.append(f"{facts['found']['path']} is marked as partial: it has holes")
        run.add(pair, count(pair, len(pair.classes), on_block=run.listener.moved), facts)
    finally:
        pair.close()


def _add_region(
    run: _Run,
    regions: Collection,
    part: Part,
    predictor: Callable[[np.ndarray], np.ndarray],
    options: Options,
    work: Path,
    watch: Watch,
) -> None:
    with regions.open(part) as (region, spacing):
        empty = PredictedRegion(part.name, region, np.zeros(0), spacing)
        case, counted = scored_region(
            empty, regions.card, predictor, options, work, watch, run.listener.moved
        )
        run.add(case, counted, part.facts)


def _predictor(model: bundles.Model, options: Options) -> Callable[[np.ndarray], np.ndarray]:
    if model.function is not None:
        return model.function
    from seg_batch.nn.engine import load_predictor

    loaded: Callable[[np.ndarray], np.ndarray] = load_predictor(
        model.weights,
        batch=options.batch or 1,
        precision=options.precision,
        sha256=model.card.weights_sha256,
    )
    return loaded


def _settled(options: Options, model: bundles.Model) -> Options:
    """Options with the precision that predict would choose on this machine."""
    if model.path is None:
        return replace(options, precision="float32")
    if options.precision == "auto":
        return replace(options, precision=machine.default_precision())
    return options


def _model_facts(model: bundles.Model, options: Options) -> dict[str, Any]:
    card = model.card
    return {
        "name": card.name,
        "path": None if model.path is None else str(model.path),
        "weights_sha256": card.weights_sha256,
        "licence": card.licence,
        "training_data": card.training_data,
        "overlap": options.overlap,
        "taper": options.taper,
        "precision": options.precision,
    }


def _leaks(card: ModelCard, regions: Collection) -> list[str]:
    """A warning where the card says that the bundle was trained on what is scored here."""
    cases = card.split.get("cases", {})
    trained = (
        {c for c, part in cases.items() if part == "training"} if isinstance(cases, dict) else set()
    )
    seen = sorted(trained & {part.name for part in regions.parts})
    if not seen:
        return []
    some = ", ".join(seen[:5]) + (", ..." if len(seen) > 5 else "")
    return [f"{card.name} was trained on {len(seen)} of these cases ({some}): scores flatter it"]


def _require_measured(asked: Iterable[Requirement], names: tuple[str, ...]) -> None:
    for one in asked:
        if one.name in names:
            raise InputError(
                f"--require {one.text}: {one.name} needs the model's probabilities, and label files "
                "have none: use --model"
            )


def _seams_of(run: _Run) -> dict[str, Any] | None:
    """Of labels only, where segbatch predicted them and so their tiles are known."""
    if not run.seams or len({len(s.pairs) for s in run.seams}) > 1:
        return None
    total = run.seams[0]
    for one in run.seams[1:]:
        total = total + one
    return {**total.summary(run.classes.names, len(run.seams)), "jump": None}


def _names(found: Matches) -> dict[str, list[str]]:
    return {
        "predictions": [str(path) for path in found.only_found],
        "truth": [str(path) for path in found.only_truth],
    }


def _unmatched(found: Matches) -> list[str]:
    lines = []
    pairs = (("prediction", "truth", found.only_found), ("truth", "prediction", found.only_truth))
    for here, there, paths in pairs:
        if paths:
            some = ", ".join(p.name for p in paths[:5]) + (", ..." if len(paths) > 5 else "")
            lines.append(
                f"{len(paths)} files have no {there} of their name, not scored: {some} ({here})"
            )
    return lines


def _written(output: str | Path | None, overwrite: bool) -> AbstractContextManager[Path | None]:
    """The folder to fill, or None where nothing is to be written."""
    return nullcontext() if output is None else writing_folder(Path(output), overwrite, RESULT)


def _write(folder: Path | None, result: dict[str, Any], run: _Run) -> None:
    if folder is None:
        return
    run.listener.stage("writing")
    text = json.dumps(result, indent=2, allow_nan=False)
    (folder / RESULT).write_text(text + "\n", encoding="utf-8")
    rows = result["scores"]["per_class_and_case"]
    with (folder / "evaluation.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (folder / "index.html").write_text(page(result, run.gallery.cases()), encoding="utf-8")
