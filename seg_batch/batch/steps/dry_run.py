"""The plan of a workflow of steps, as values and as lines, as far as it is known before they run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seg_batch.batch.dry_run import plan_lines, plan_run
from seg_batch.batch.inputs.listing import list_inputs
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
    """``steps``: the plan of each, or its ``error``; ``refused``: inputs and steps that can't be
    done, with the reason. Nothing is written."""
    folder = Path(workflow.run_folder)
    record = StepRecord(workflow, folder)
    steps = [_planned(workflow, record, step) for step in workflow.steps]
    refused = {f"{s['name']}: {k}": v for s in steps for k, v in s.get("refused", {}).items()}
    refused |= {s["name"]: s["error"] for s in steps if "error" in s}
    return {"workflow": workflow.name, "run": str(folder), "steps": steps, "refused": refused}


def _planned(workflow: Workflow, record: StepRecord, step: AnyStep) -> dict[str, Any]:
    waits = [other.name for other in record.used(step) if not record.is_up_to_date(other)]
    row = {"name": step.name, "do": step.do, "output": step.result, "waits_for": waits}
    if not isinstance(step, PredictStep) and record.is_up_to_date(step):
        return {**row, "stands": True}
    try:
        return {**row, "stands": False, **_facts(workflow, record, step, waits)}
    except SegbatchError as error:
        return {**row, "stands": False, "error": error.message}


def _facts(
    workflow: Workflow, record: StepRecord, step: AnyStep, waits: list[str]
) -> dict[str, Any]:
    if isinstance(step, PredictStep):
        alone = workflow.of_step(step)
        if not waits:
            plan = plan_run(alone, overwrite=not record.is_same(step))
            return {"night": plan, "refused": plan["refused"]}
        listing = list_inputs(alone)
        return {"inputs": len(listing.specs), "refused": listing.refused}
    if isinstance(step, PatchesStep) and not waits:
        cut = step.of(CutOptions)
        recipe = chosen_recipe(step.recipe, cut.settings, cut.fold)
        dataset = plan_dataset(step.data, recipe, cut.align, TASK_BYTES, cut.alpha)
        return {"cases": len(dataset.cases), "patches": dataset.layout.n}
    if isinstance(step, TrainStep):
        bundle, overrides = step.of(StartOptions).from_bundle, step.of(TrainOverrides)
        if bundle is not None and not waits:
            find_bundle(bundle)
        return {"minutes": overrides.minutes, "steps": overrides.steps}
    return {}


def step_lines(plan: dict[str, Any]) -> list[str]:
    """One line per step, with the plan of a prediction below it, then what is refused."""
    lines = []
    for number, step in enumerate(plan["steps"], start=1):
        lines.append(f"{number}. {step['name']}: {_words(step)} -> {step['output']}")
        if "night" in step:
            lines += [f"   {line}" for line in plan_lines({**step["night"], "refused": {}})]
    lines += [f"refused  {key}: {error}" for key, error in plan["refused"].items()]
    return [visible(line) for line in lines]


def _words(step: dict[str, Any]) -> str:
    if step["stands"]:
        return "done"
    words = [step["do"]] if step["do"] != step["name"] else []
    words += [f"{step[key]} {key}" for key in ("cases", "patches", "inputs") if key in step]
    words += [f"at most {step[key]:g} {key}" for key in ("minutes", "steps") if step.get(key)]
    words += [f"after {' and '.join(step['waits_for'])}"] if step["waits_for"] else []
    return ", ".join(words) or "to be done"
