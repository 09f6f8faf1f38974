"""The function that each kind of step calls, and its arguments."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from seg_batch.batch.run import Write, run_unattended
from seg_batch.config.command_options import (
    CutOptions,
    EvaluateOptions,
    StartOptions,
    TrainOverrides,
)
from seg_batch.config.predict_options import PredictOptions
from seg_batch.config.workflow.schema import Workflow
from seg_batch.config.workflow.steps import (
    AnyStep,
    EvaluateStep,
    PatchesStep,
    PredictStep,
    TrainStep,
)
from seg_batch.core.callbacks import Callback
from seg_batch.datasets.build import make_patches
from seg_batch.evaluation.evaluate import evaluate_bundle, evaluate_files
from seg_batch.training.train import train

Bars = Callable[[str], AbstractContextManager[Callback]]  # command -> callback for its progress


@dataclass(frozen=True)
class CommandRunners:
    """The workflow of the steps, and the callbacks for their progress."""

    workflow: Workflow
    bars: Bars
    say: Callable[[str], None]
    write: Write


def run_command(
    step: AnyStep, by: CommandRunners, left_s: float | None, overwrite: bool
) -> dict[str, Any]:
    """Do one step; returns the exit ``status`` of its command, for an evaluation also the
    requirements that are ``unmet``. ``left_s``: seconds until the deadline of the run."""
    if isinstance(step, PredictStep):
        return _predict(step, by, left_s, overwrite)
    workers: dict[str, Any] = {
        "cluster": by.workflow.cluster,
        "workers": max(1, by.workflow.workers),
    }
    with by.bars(step.do) as bar:
        common: dict[str, Any] = {"overwrite": overwrite, "callback": bar}
        if isinstance(step, PatchesStep):
            cut = vars(replace(step.of(CutOptions), **workers))
            make_patches(step.data, step.output, step.recipe, **common, **cut)
            return {"status": 0}
        if isinstance(step, TrainStep):
            overrides = replace(step.of(TrainOverrides), **workers)
            start = vars(step.of(StartOptions))
            train(step.data, step.output, wishes=overrides, **common, **start)
            return {"status": 0}
        return _evaluate(step, {"output": step.output, **common})


def _predict(
    step: PredictStep, by: CommandRunners, left_s: float | None, overwrite: bool
) -> dict[str, Any]:
    alone = by.workflow.of_step(step)
    wall_time = None if left_s is None else f"{int(left_s)}s"
    limits = alone.limits.model_copy(update={"wall_time": wall_time, "stop_at": None})
    alone = alone.model_copy(update={"limits": limits, "on_finish": ()})
    with by.bars("predict") as table:
        return run_unattended(alone, table, by.say, by.write, overwrite=overwrite)


def _evaluate(step: EvaluateStep, common: dict[str, Any]) -> dict[str, Any]:
    how = step.of(EvaluateOptions)
    if step.model is not None:
        assert step.data is not None
        models = step.model[0] if len(step.model) == 1 else list(step.model)
        common |= {"options": step.options.of(PredictOptions), **how.keywords("split")}
        result = evaluate_bundle(models, step.data, **common)
    else:
        assert step.predictions is not None
        assert step.truth is not None
        common |= how.keywords("images", "classes")
        result = evaluate_files(step.predictions, step.truth, **common)
    unmet = [
        f"required {row['require']}, found {row['found']}"
        for row in result["requirements"]
        if not row["met"]
    ]
    return {"status": 3 if unmet else 0, "unmet": ", ".join(unmet)}
