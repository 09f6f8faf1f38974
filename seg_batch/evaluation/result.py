"""The result of an evaluation while cases are scored, and the folder that it is written to."""

from __future__ import annotations

import csv
import json
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.core.run_files import EVALUATION, EVALUATION_PAGE
from seg_batch.core.versions import package_version, versions
from seg_batch.datasets.label_classes import Classes
from seg_batch.evaluation.html_page import evaluation_page
from seg_batch.evaluation.metrics.case import CaseScores
from seg_batch.evaluation.metrics.confusion import dice, mean_over_classes
from seg_batch.evaluation.overlays import OverlayWriter, draw_overlays
from seg_batch.evaluation.score import score_summary
from seg_batch.evaluation.score_case import CaseCounts, LabelledCase
from seg_batch.evaluation.thresholds import Requirement
from seg_batch.inference.sliding_window.seams import SeamCounts
from seg_batch.io.sinks.publish import writing_folder


@dataclass
class EvaluationRun:
    """Scores, facts, seams, warnings and pictures of the cases scored so far."""

    classes: Classes
    requirements: list[Requirement]
    pictures: int
    callback: Callback
    scores: dict[str, CaseScores] = field(default_factory=dict)
    facts: list[dict[str, Any]] = field(default_factory=list)
    seams: list[SeamCounts] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    start: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        self.gallery = OverlayWriter(self.pictures)
        for requirement in self.requirements:
            requirement.require_classes(self.classes.names)

    def advance(self, share: float) -> None:
        """Report a further share of the current case as scored; the shares of a case sum to 1."""
        self.callback.on(events.Advanced(share))

    def add(self, case: LabelledCase, counted: CaseCounts) -> None:
        self.scores[case.name] = counted.scores
        self.seams += [counted.seams] if counted.seams else []
        numbers = {"not_scored": counted.not_scored, "not_predicted": counted.not_predicted}
        self.facts.append({"case": case.name, "box": str(case.box), **numbers, **case.facts})
        if counted.not_predicted:
            self.warnings.append(
                f"{case.name}: {counted.not_predicted} voxels with a true class have no prediction; "
                "they count in no score"
            )
        confusion = counted.scores.confusion
        if not confusion.any():
            self.warnings.append(f"{case.name}: no voxel has both a true class and a prediction")
        kept = [k for k in range(len(self.classes)) if k != self.classes.background]
        self.gallery.offer(
            mean_over_classes(dice(confusion)[kept]),
            case.name,
            lambda: draw_overlays(case, self.classes),
        )

    def result(self, kind: str, **measured: Any) -> dict[str, Any]:
        """The content of evaluation.json, except for the source of the cases and the warnings."""
        names, background = self.classes.names, self.classes.background
        result: dict[str, Any] = {
            "segbatch": package_version(),
            "evaluated": kind,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - self.start, 3),
            "classes": self.classes.to_json(),
            "classes_from": self.classes.origin,
            "background": None if background is None else names[background],
            "scores": score_summary(self.scores, names, background),
            **measured,
            "cases": self.facts,
            "versions": versions(),
        }
        result["requirements"] = [r.check(result) for r in self.requirements]
        return result


def open_output(output: str | Path | None, overwrite: bool) -> AbstractContextManager[Path | None]:
    """The folder to fill, or None where nothing is to be written."""
    return nullcontext() if output is None else writing_folder(Path(output), overwrite, EVALUATION)


def write_result(folder: Path | None, result: dict[str, Any], run: EvaluationRun) -> None:
    """evaluation.json, evaluation.csv (a row per case and class), the page; nothing without a folder."""
    if folder is None:
        return
    run.callback.on(events.Stage("writing"))
    text = json.dumps(result, indent=2, allow_nan=False)
    (folder / EVALUATION).write_text(text + "\n", encoding="utf-8")
    rows = result["scores"]["per_class_and_case"]
    with (folder / "evaluation.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (folder / EVALUATION_PAGE).write_text(
        evaluation_page(result, run.gallery.cases()), encoding="utf-8"
    )
