"""What the steps of a workflow would do, as values and as lines: each as far as it can be known before
those that it needs are done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seg_batch.batch.dry_run import plan_lines, plan_run
from seg_batch.batch.inputs.listing import listed
from seg_batch.batch.steps.up_to_date import StepRecord
from seg_batch.config.command_options import CutOptions, StartOptions, TrainOverrides
from seg_batch.config.workflow.schema import Workflow
from seg_batch.config.workflow.steps import AnyStep, PatchesStep, PredictStep, TrainStep
from seg_batch.core.errors import SegbatchError
from seg_batch.core.text import visible
from seg_batch.datasets.layout import TASK_BYTES
from seg_batch.datasets.plan import chosen_recipe, plan_dataset
from seg_batch.inference.bundles import find_bundle


def plan_steps(workflow: Workflow) -> dict[str, Any]:
    """``steps``: what each would do, or its ``error``; ``refused``: inputs and steps that can't be done,
    with the reason. Nothing is written."""
    folder = Path(workflow.run_folder)
    record = StepRecord(workflow, folder)
    steps = [_planned(workflow, record, step) for step in workflow.steps]
    refused = {f"{s['name']}: {k}": v for s in steps for k, v in s.get("refused", {}).items()}
    refused |= {s["name"]: s["error"] for s in steps if "error" in s}
    return {"workflow": workflow.name, "run": str(folder), "steps": steps, "refused": refused}


def _planned(workflow: Workflow, record: StepRecord, step: AnyStep) -> dict[str, Any]:
    waits = [other.name for other in record.used(step) if not record.stands(other)]
    told = {"name": step.name, "do": step.do, "output": step.result, "waits_for": waits}
    if not isinstance(step, PredictStep) and record.stands(step):
        return {**told, "stands": True}
    try:
        return {**told, "stands": False, **_facts(workflow, record, step, waits)}
    except SegbatchError as error:
        return {**told, "stands": False, "error": error.message}


def _facts(
    workflow: Workflow, record: StepRecord, step: AnyStep, waits: list[str]
) -> dict[str, Any]:
    if isinstance(step, PredictStep):
        alone = workflow.of_step(step)
        if not waits:
            night = plan_run(alone, overwrite=not record.is_same(step))
            return {"night": night, "refused": night["refused"]}
        listing = listed(alone)
        return {"inputs": len(listing.specs), "refused": listing.refused}
    if isinstance(step, PatchesStep) and not waits:
        cut = step.of(CutOptions)
        recipe = chosen_recipe(step.recipe, cut.settings, cut.fold)
        plan = plan_dataset(step.data, recipe, cut.align, TASK_BYTES)
        return {"cases": len(plan.cases), "patches": plan.layout.n}
    if isinstance(step, TrainStep):
        begun_with, overrides = step.of(StartOptions).from_bundle, step.of(TrainOverrides)
        if begun_with is not None and not waits:
            find_bundle(begun_with)
        return {"minutes": overrides.minutes, "steps": overrides.steps}
    return {}


def step_lines(plan: dict[str, Any]) -> list[str]:
    """One line per step, the plan of a prediction below its own, and what is refused."""
    lines = []
    for number, one in enumerate(plan["steps"], start=1):
        lines.append(f"{number}. {one['name']}: {_words(one)} -> {one['output']}")
        if "night" in one:
            lines += [f"   {line}" for line in plan_lines({**one["night"], "refused": {}})]
    lines += [f"refused  {key}: {error}" for key, error in plan["refused"].items()]
    return [visible(line) for line in lines]


def _words(one: dict[str, Any]) -> str:
    if one["stands"]:
        return "done"
    said = [one["do"]] if one["do"] != one["name"] else []
    said += [f"{one[key]} {key}" for key in ("cases", "patches", "inputs") if key in one]
    said += [f"at most {one[key]:g} {key}" for key in ("minutes", "steps") if one.get(key)]
    said += [f"after {' and '.join(one['waits_for'])}"] if one["waits_for"] else []
    return ", ".join(said) or "to be done"
