"""Whether the result of each step of a workflow is up to date, from the workflow's journal.

A result is up to date when it is unchanged since the step ended, and was made of the present
results of earlier steps and the present files that the step names.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import cast

from seg_batch.batch.journal import Journal
from seg_batch.batch.journal.events import InputResult, JournalEvent, ProductStamp, StepResult
from seg_batch.batch.resume import is_unchanged
from seg_batch.batch.steps.input_digest import digest_of, is_within, strings_in
from seg_batch.batch.summaries import file_stamp
from seg_batch.config.workflow.schema import Workflow
from seg_batch.config.workflow.steps import AnyStep, PredictStep
from seg_batch.core.files import remove, translate_os_errors
from seg_batch.core.run_files import CARD, EVALUATION, JOURNAL, WORKFLOW, kept_journal
from seg_batch.inference.outputs import Outputs
from seg_batch.inference.resume import clean
from seg_batch.io.sinks.product import digest
from seg_batch.io.sinks.product_sides import left_side_files

# Step -> the file in the folder of its result that is written last.
MARKS = {"patches": "zarr.json", "train": CARD, "evaluate": EVALUATION}

# Name of an earlier step -> sha256 of its result; FILES -> that of the files.
Sources = dict[str, str]
FILES = "its files"  # can't be the name of a step


@dataclass(frozen=True)
class StepState:
    """One step. ``sources``: its inputs when it last began; ``outcome``: of its last end; ``before``: the
    stamp (bytes, mtime in ns) of the result's file when it began, None once the step has ended."""

    sources: Sources | None = None
    outcome: StepResult | None = None
    before: list[int] | None = None


class StepRecord:
    """The states of all steps of a workflow, read from the journal once and then updated."""

    def __init__(self, workflow: Workflow, folder: Path) -> None:
        self._workflow = workflow
        self._states: dict[str, StepState] = {}
        for event in Journal.read(folder / JOURNAL):
            if event["event"] in ("started", "done"):
                self.add(event)

    def add(self, event: JournalEvent) -> None:
        """Add that a step was started or done."""
        state = self.of(event["input"])
        if event["event"] == "started":
            state = replace(state, sources=event["sources"], before=event["before"])
        else:
            state = replace(state, outcome=cast(StepResult, event["outcome"]), before=None)
        self._states[event["input"]] = state

    def of(self, name: str) -> StepState:
        return self._states.get(name, StepState())

    def used(self, step: AnyStep) -> list[AnyStep]:
        """The earlier steps whose results this one names."""
        named = set(strings_in(step.model_dump(mode="json")))
        earlier = takewhile(lambda other: other.name != step.name, self._workflow.steps)
        return [other for other in earlier if any(_names(text, other.result) for text in named)]

    def sources(self, step: AnyStep) -> Sources:
        """Digests of the results that a step uses, and of the files that it names. A prediction has
        no files here: its own run checks its inputs."""
        outcomes = {other.name: self.of(other.name).outcome for other in self.used(step)}
        results = {name: out["product"]["sha256"] for name, out in outcomes.items() if out}
        if isinstance(step, PredictStep):
            return results
        return {**results, FILES: digest_of(step, [other.result for other in self._workflow.steps])}

    def is_same(self, step: AnyStep) -> bool:
        """Whether the step was begun with the present results of earlier steps and files."""
        return self.of(step.name).sources == self.sources(step)

    def is_ours(self, step: AnyStep) -> bool:
        """Whether its result is unchanged since the step ended."""
        outcome = self.of(step.name).outcome
        return outcome is not None and outcome["product"] == self.product(step)

    def run_folder(self, step: PredictStep) -> Path:
        """The run folder of a prediction."""
        return Path(self._workflow.of_step(step).run_folder)

    def mark(self, step: AnyStep) -> Path:
        """The file that exists where the step's result does, and changes with it."""
        if isinstance(step, PredictStep):
            return self.run_folder(step) / WORKFLOW
        return Path(step.result) / MARKS[step.do]

    def product(self, step: AnyStep) -> ProductStamp:
        """The stamp of the step's result, as of an input's product."""
        mark = self.mark(step)
        size, mtime_ns = file_stamp(str(mark))
        if isinstance(step, PredictStep):
            sha256 = _digest_of_products(self.run_folder(step))
        else:
            sha256 = digest(mark) if mark.is_file() else ""
        return {"sha256": sha256, "bytes": size, "mtime_ns": mtime_ns}

    def is_up_to_date(self, step: AnyStep) -> bool:
        """Whether its result is complete and need not be made again."""
        state = self.of(step.name)
        if not self.is_same(step):
            return False
        if state.before is not None:  # it was killed, before its result was in place or right after
            return list(file_stamp(str(self.mark(step)))) not in ([0, 0], state.before)
        complete = state.outcome is not None and state.outcome["status"] == "complete"
        return complete and self.is_ours(step)


def _digest_of_products(run: Path) -> str:
    """A digest of the last product of each input, whatever the order in which they were done."""
    done = [event for event in Journal.read(run / JOURNAL) if event["event"] == "done"]
    last = {event["input"]: event["outcome"]["product"] for event in done}
    return hashlib.sha256(json.dumps(last, sort_keys=True).encode()).hexdigest()


def _names(text: str, path: str) -> bool:
    return any(is_within(side, path) for side in text.split("="))


def invalidate(run: Path) -> None:
    """Remove the unchanged products of the run in this folder, and its unfinished work.

    The journal is renamed last, so that the next call completes one that was killed."""
    journal = run / JOURNAL
    products: dict[str, InputResult | None] = {}
    for event in Journal.read(journal):
        if event["event"] == "surveyed":
            products.setdefault(event["facts"]["output"], None)
        elif event["event"] == "done":
            result = event["outcome"]
            products[result["output"]] = result if is_unchanged(result) else None
    for product, ours in products.items():
        outputs = Outputs(Path(product))
        clean(outputs)
        if ours:
            # One that can't be removed ends it: half a product must not look like another's.
            sides = (*left_side_files(outputs.probabilities), *left_side_files(outputs.product))
            also = map(Path, ours.get("also", ()))
            for path in (*sides, *also, outputs.probabilities, outputs.product, outputs.report):
                with translate_os_errors(path):
                    remove(path, ignore_errors=False)
    if journal.exists():
        journal.rename(run / kept_journal(time.time_ns()))
