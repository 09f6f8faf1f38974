"""What a night is made of, in one YAML file, as one frozen value; unknown keys are refused."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from seg_batch.config.predict_options import PredictOptions
from seg_batch.config.recipe.card_draft import Frozen
from seg_batch.config.workflow.cluster import Cluster
from seg_batch.config.workflow.fields import Count, Post, several
from seg_batch.config.workflow.option_keys import options_of
from seg_batch.config.workflow.parts import (
    InputSettings,
    LimitSettings,
    Models,
    OnFailure,
    OptionKeys,
    OutputSettings,
)
from seg_batch.config.workflow.paths import program_of
from seg_batch.config.workflow.steps import Name, PredictStep, Step
from seg_batch.core.run_files import RUNS

# What products are made of. The rest says how, where and when, and may change before a run goes on.
MADE_OF = ("model", "options", "post", "outputs", "steps")
Command = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    Field(min_length=1),
    BeforeValidator(program_of),
]  # words, never a line for a shell


class Workflow(Frozen):
    """``inputs`` that one prediction is made of, or ``steps`` that follow one another.

    ``workers``: processes; 0: one per GPU, or one. ``cluster``: as for ``--cluster``, or a mapping that
    describes one. ``on_finish``: commands, each a list of words, run when all is over.
    """

    model_config = ConfigDict(populate_by_name=True)

    name: Name
    inputs: InputSettings | None = None
    model: Models | None = None
    options: OptionKeys = OptionKeys()
    post: Annotated[Post, BeforeValidator(several)] | None = None
    outputs: OutputSettings
    cluster: Cluster = "auto"
    workers: Count = 0
    limits: LimitSettings = LimitSettings()
    on_failure: OnFailure = OnFailure()
    on_finish: tuple[Command, ...] = ()
    steps: tuple[Step, ...] = ()

    @property
    def run_folder(self) -> str:
        """Where the journal and the report of a run lie."""
        return os.path.join(self.outputs.folder, RUNS, self.name)

    @property
    def sha256(self) -> str:
        """Of all that products are made of: a run goes on only with the same."""
        plain = self.to_json()
        made_of = json.dumps({key: plain[key] for key in MADE_OF}, sort_keys=True)
        return hashlib.sha256(made_of.encode("utf-8", "surrogatepass")).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """What ``Workflow.model_validate`` takes back."""
        return self.model_dump(mode="json", by_alias=True)

    def plan_options(self) -> PredictOptions:
        """The options of each input's plan."""
        return options_of(PredictOptions, self)

    def of_step(self, step: PredictStep) -> Workflow:
        """The workflow of this one step: what it says itself, the rest as here."""
        own = {key: getattr(step, key) for key in ("inputs", "model", "options", "post", "outputs")}
        return self.model_copy(update={**own, "name": f"{self.name}-{step.name}", "steps": ()})

    @model_validator(mode="after")
    def _one_or_several_steps(self) -> Self:
        if not self.steps:
            if self.inputs is None:
                raise ValueError("there is nothing to do: give inputs, or steps")
            return self
        given = {"inputs", "model", "options", "post"} & self.model_fields_set
        if given and self.of_nothing(given):
            raise ValueError(f"steps have {', '.join(sorted(given))} of their own: move them there")
        names = [step.name for step in self.steps]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two steps are called {twice}: give each a name of its own")
        return self

    def of_nothing(self, given: set[str]) -> bool:
        """Whether any of these fields is other than by default: JSON holds them all."""
        fields = type(self).model_fields
        return any(getattr(self, key) != fields[key].default for key in given)
