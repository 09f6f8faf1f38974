"""What the journal of a workflow of steps knows of each: whether its result stands and need not be made
again.

The result of a step stands when it is as the step left it, and was made of what the steps before it
have left now, and of the files that it names as they are now.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import cast

from seg_batch.batch.journal import Journal
from seg_batch.batch.journal.events import JournalEvent, ProductStamp, StepResult
from seg_batch.batch.steps.input_digest import digest_of, texts, within
from seg_batch.batch.summaries import file_stamp
from seg_batch.config.workflow.schema import Workflow
from seg_batch.config.workflow.steps import AnyStep, PredictStep
from seg_batch.core.run_files import CARD, EVALUATION, JOURNAL, WORKFLOW
from seg_batch.io.sinks.product import digest

# What is in the folder of a result, and is written last.
MARKS = {"patches": "zarr.json", "train": CARD, "evaluate": EVALUATION}

Sources = dict[str, str]  # name of an earlier step, or FILES -> sha256 of what it left, or of them
FILES = "its files"  # no step is called so


@dataclass(frozen=True)
class StepState:
    """One step. ``sources``: what it was made of when it last began; ``outcome``: of its last end;
    ``before``: what stood in the place of its result when it began, unless it came to an end since."""

    sources: Sources | None = None
    outcome: StepResult | None = None
    before: list[int] | None = None


class StepRecord:
    """What is known of all steps of a workflow, read from the journal once and kept up."""

    def __init__(self, workflow: Workflow, folder: Path) -> None:
        self._workflow = workflow
        self._known: dict[str, StepState] = {}
        for event in Journal.read(folder / JOURNAL):
            if event["event"] in ("started", "done"):
                self.add(event)

    def add(self, event: JournalEvent) -> None:
        """Take in that a step was started or done."""
        one = self.of(event["input"])
        if event["event"] == "started":
            one = replace(one, sources=event["sources"], before=event["before"])
        else:
            one = replace(one, outcome=cast(StepResult, event["outcome"]), before=None)
        self._known[event["input"]] = one

    def of(self, name: str) -> StepState:
        return self._known.get(name, StepState())

    def used(self, step: AnyStep) -> list[AnyStep]:
        """The earlier steps whose results this one names."""
        named = set(texts(step.model_dump(mode="json")))
        earlier = takewhile(lambda other: other.name != step.name, self._workflow.steps)
        return [other for other in earlier if any(_names(text, other.result) for text in named)]

    def sources(self, step: AnyStep) -> Sources:
        """What the steps that it uses have left, and the files that it names; a night looks at its own
        itself."""
        outcomes = {other.name: self.of(other.name).outcome for other in self.used(step)}
        left = {name: one["product"]["sha256"] for name, one in outcomes.items() if one}
        if isinstance(step, PredictStep):
            return left
        return {**left, FILES: digest_of(step, [one.result for one in self._workflow.steps])}

    def is_same(self, step: AnyStep) -> bool:
        """Whether the step was begun with what the earlier ones have left now, and with such files."""
        return self.of(step.name).sources == self.sources(step)

    def is_ours(self, step: AnyStep) -> bool:
        """Whether what stands in the place of its result is what the step left there."""
        outcome = self.of(step.name).outcome
        return outcome is not None and outcome["product"] == self.product(step)

    def run_folder(self, step: PredictStep) -> Path:
        """Of the night that a prediction is."""
        return Path(self._workflow.of_step(step).run_folder)

    def mark(self, step: AnyStep) -> Path:
        """The file that is there when the step's result is, and changes with it."""
        if isinstance(step, PredictStep):
            return self.run_folder(step) / WORKFLOW
        return Path(step.result) / MARKS[step.do]

    def product(self, step: AnyStep) -> ProductStamp:
        """What tells one result from another, as of an input's product."""
        mark = self.mark(step)
        size, mtime_ns = file_stamp(str(mark))
        if isinstance(step, PredictStep):
            sha256 = _of_night(self.run_folder(step))
        else:
            sha256 = digest(mark) if mark.is_file() else ""
        return {"sha256": sha256, "bytes": size, "mtime_ns": mtime_ns}

    def stands(self, step: AnyStep) -> bool:
        """Whether its result is there, whole."""
        one = self.of(step.name)
        if not self.is_same(step):
            return False
        if one.before is not None:  # it died: before its result was in its place, or right after
            return list(file_stamp(str(self.mark(step)))) not in ([0, 0], one.before)
        return (
            one.outcome is not None and one.outcome["status"] == "complete" and self.is_ours(step)
        )


def _of_night(run: Path) -> str:
    """Of the products of all inputs, in whatever order they were done; of one made again, another."""
    done = [event for event in Journal.read(run / JOURNAL) if event["event"] == "done"]
    last = {event["input"]: event["outcome"]["product"] for event in done}
    return hashlib.sha256(json.dumps(last, sort_keys=True).encode()).hexdigest()


def _names(text: str, path: str) -> bool:
    return any(within(side, path) for side in text.split("="))
