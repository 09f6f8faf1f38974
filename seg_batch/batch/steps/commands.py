"""What each command of a step calls, and with what."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

from seg_batch.batch.run import Write, run_unattended
from seg_batch.config.predict_options import Options
from seg_batch.config.workflow.schema import Workflow
from seg_batch.config.workflow.steps import AnyStep, Evaluate, Patches, Predict, Train
from seg_batch.datasets.build import make_patches
from seg_batch.evaluation.evaluate import evaluate_bundle, evaluate_files
from seg_batch.training.train import train
from seg_batch.training.training_set import Wishes

Bars = Callable[[str], AbstractContextManager[Any]]  # who listens to a step of this command


@dataclass(frozen=True)
class DoneBy:
    """Of which workflow the steps are, and who is told of them as they go."""

    workflow: Workflow
    bars: Bars
    say: Callable[[str], None]
    write: Write

    @property
    def cutting(self) -> dict[str, Any]:
        """Where pairs are cut."""
        return {"cluster": self.workflow.cluster, "workers": max(1, self.workflow.workers)}


def doing(step: AnyStep, by: DoneBy, left_s: float | None, overwrite: bool) -> dict[str, Any]:
    """Do one step to its end; ``status`` as that of the command, and of an evaluation what is
    ``unmet``. ``left_s``: seconds that the run has left."""
    if isinstance(step, Predict):
        return _predict(step, by, left_s, overwrite)
    with by.bars(step.do) as bar:
        if isinstance(step, Patches):
            _patches(step, by, overwrite, bar)
            return {"status": 0}
        if isinstance(step, Train):
            _train(step, by, overwrite, bar)
            return {"status": 0}
        return _evaluate(step, overwrite, bar)


def _predict(step: Predict, by: DoneBy, left_s: float | None, overwrite: bool) -> dict[str, Any]:
    alone = by.workflow.of_step(step)
    wall_time = None if left_s is None else f"{int(left_s)}s"
    limits = alone.limits.model_copy(update={"wall_time": wall_time, "stop_at": None})
    alone = alone.model_copy(update={"limits": limits, "on_finish": ()})
    with by.bars("predict") as board:
        return run_unattended(alone, board, by.say, by.write, overwrite=overwrite)


def _patches(step: Patches, by: DoneBy, overwrite: bool, bar: Any) -> None:
    make_patches(
        step.data,
        step.output,
        step.recipe,
        settings=step.settings,
        align=step.align,
        fold=step.fold,
        overwrite=overwrite,
        listener=bar,
        **by.cutting,
    )


def _train(step: Train, by: DoneBy, overwrite: bool, bar: Any) -> None:
    asked = {"fit.minutes": step.minutes, "fit.steps": step.steps, "network.arch": step.arch}
    short = [f"{key}={value}" for key, value in asked.items() if value is not None]
    wishes = Wishes(step.recipe, (*step.settings, *short), step.align, step.fold, **by.cutting)
    train(
        step.data,
        step.output,
        wishes=wishes,
        from_bundle=step.from_bundle,
        teacher=step.teacher,
        overwrite=overwrite,
        listener=bar,
    )


def _evaluate(step: Evaluate, overwrite: bool, bar: Any) -> dict[str, Any]:
    common: dict[str, Any] = {
        "output": step.output,
        "ignore": step.ignore,
        "requirements": step.require,
        "pictures": step.pictures,
        "overwrite": overwrite,
        "listener": bar,
    }
    if step.model is not None:
        assert step.data is not None
        models = step.model[0] if len(step.model) == 1 else list(step.model)
        options = Options(**step.options.model_dump())
        found = evaluate_bundle(models, step.data, split=step.split, options=options, **common)
    else:
        assert step.predictions is not None
        assert step.truth is not None
        score = partial(evaluate_files, step.predictions, step.truth)
        found = score(images=step.images, classes=step.classes, **common)
    unmet = [
        f"required {one['require']}, found {one['found']}"
        for one in found["requirements"]
        if not one["met"]
    ]
    return {"status": 3 if unmet else 0, "unmet": ", ".join(unmet)}
