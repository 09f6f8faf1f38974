"""What a run takes over from an earlier one of the same output: the step of memory that its patch was chosen by."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from seg_batch.config.predict_options import PredictOptions
from seg_batch.inference.outputs import Outputs, read_report
from seg_batch.io.sinks.store_folder import StoreFolder


def with_patch_begun(
    options: PredictOptions, outputs: Outputs, overwrite: bool
) -> tuple[PredictOptions, int | None]:
    """The options, and the step of memory for an automatic choice of the patch; None: none was begun. A run on a machine of
    another size goes on with the patch of its store, and one that an earlier version began with that of the card."""
    earlier = None if overwrite else _plan_of_store(outputs) or _plan_of_report(outputs)
    if options.patch != "auto" or earlier is None:
        return options, None
    if choice := earlier.get("patch_choice"):
        step = choice.get("step_bytes") if isinstance(choice, dict) else None
        return options, step if isinstance(step, int) and step > 0 else None
    return replace(
        options, patch="card", overlap="card" if options.overlap is None else options.overlap
    ), None


def _plan_of_store(outputs: Outputs) -> dict[str, Any] | None:
    plan = StoreFolder(outputs.store).attributes().get("plan")
    return plan if isinstance(plan, dict) else None


def _plan_of_report(outputs: Outputs) -> dict[str, Any] | None:
    report = read_report(outputs)
    return dict(report["plan"]) if report else None
