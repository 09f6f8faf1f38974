"""What each command of a step calls, and with what."""

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

Bars = Callable[[str], AbstractContextManager[Callback]]  # of a step of this command


@dataclass(frozen=True)
class CommandRunners:
    """Of which workflow the steps are, and who is told of them as they go."""

    workflow: Workflow
    bars: Bars
    say: Callable[[str], None]
    write: Write

    @property
    def cutting(self) -> dict[str, Any]:
        """Where pairs are cut."""
        return {"cluster": self.workflow.cluster, "workers": max(1, self.workflow.workers)}


def run_command(
    step: AnyStep, by: CommandRunners, left_s: float | None, overwrite: bool
) -> dict[str, Any]:
    """Do one step to its end; ``status`` as that of the command, and of an evaluation what is
    ``unmet``. ``left_s``: seconds that the run has left."""
    if isinstance(step, PredictStep):
        return _predict(step, by, left_s, overwrite)
    with by.bars(step.do) as bar:
        if isinstance(step, PatchesStep):
            _patches(step, by, overwrite, bar)
            return {"status": 0}
        if isinstance(step, TrainStep):
            _train(step, by, overwrite, bar)
            return {"status": 0}
        return _evaluate(step, overwrite, bar)


def _predict(
    step: PredictStep, by: CommandRunners, left_s: float | None, overwrite: bool
) -> dict[str, Any]:
    alone = by.workflow.of_step(step)
    wall_time = None if left_s is None else f"{int(left_s)}s"
    limits = alone.limits.model_copy(update={"wall_time": wall_time, "stop_at": None})
    alone = alone.model_copy(update={"limits": limits, "on_finish": ()})
    with by.bars("predict") as table:
        return run_unattended(alone, table, by.say, by.write, overwrite=overwrite)


def _patches(step: PatchesStep, by: CommandRunners, overwrite: bool, bar: Callback) -> None:
    cut = replace(step.of(CutOptions), **by.cutting)
    make_patches(
        step.data, step.output, step.recipe, overwrite=overwrite, callback=bar, **vars(cut)
    )


def _train(step: TrainStep, by: CommandRunners, overwrite: bool, bar: Callback) -> None:
    overrides = replace(step.of(TrainOverrides), **by.cutting)
    start = vars(step.of(StartOptions))
    train(step.data, step.output, wishes=overrides, overwrite=overwrite, callback=bar, **start)


def _evaluate(step: EvaluateStep, overwrite: bool, bar: Callback) -> dict[str, Any]:
    how = step.of(EvaluateOptions)
    common: dict[str, Any] = {"output": step.output, "overwrite": overwrite, "callback": bar}
    if step.model is not None:
        assert step.data is not None
        models = step.model[0] if len(step.model) == 1 else list(step.model)
        common |= {"options": step.options.of(PredictOptions), **how.keywords("split")}
        found = evaluate_bundle(models, step.data, **common)
    else:
        assert step.predictions is not None
        assert step.truth is not None
        common |= how.keywords("images", "classes")
        found = evaluate_files(step.predictions, step.truth, **common)
    unmet = [
        f"required {one['require']}, found {one['found']}"
        for one in found["requirements"]
        if not one["met"]
    ]
    return {"status": 3 if unmet else 0, "unmet": ", ".join(unmet)}
