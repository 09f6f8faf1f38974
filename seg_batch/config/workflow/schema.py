"""A whole workflow as one frozen value; unknown keys are refused."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from seg_batch.config.predict_options import PredictOptions
from seg_batch.config.validation import CheckedValue, first_problem
from seg_batch.config.workflow.cluster import Cluster
from seg_batch.config.workflow.fields import Count, Post, as_list
from seg_batch.config.workflow.option_keys import options_of
from seg_batch.config.workflow.pacs import PacsSettings
from seg_batch.config.workflow.parts import (
    InputSettings,
    LimitSettings,
    Models,
    OnFailure,
    OptionKeys,
    OutputSettings,
    require_pieces,
)
from seg_batch.config.workflow.paths import program_of
from seg_batch.config.workflow.steps import Name, PredictStep, Step
from seg_batch.core.errors import PlanError
from seg_batch.core.privacy.addresses import told_of
from seg_batch.core.run_files import RUNS

# Keys that products depend on. The others may change before a run is resumed.
MADE_OF = ("model", "options", "post", "outputs", "steps")
# Of these, keys that no map depends on: a run goes on with others.
NO_MAP = (
    *("force", "also", "pictures", "allow", "sign", "tiles", "bucket"),
    *("simplify", "min_area", "polygons", "zones", "zone_field", "fractional"),
)
# Keys that a later version added, at their defaults: a run begun before has the same fingerprint.
CAME_LATER: dict[str, Any] = {
    "alpha": "auto",
    "bands": None,
    "scale": None,
    "offset": None,
    "force": False,
    "stack": [],
    "cases": [],
    "channels_last_axis": False,
    "resample": "auto",
    "spacing": None,
    "output_grid": "native",
    "patch": "auto",
    "series": None,
    "dicom": [],
    "pacs": None,
    "deidentify": None,
    "pictures": True,
    "also": [],
    "seg": "labelmap",
    "mosaic": [],
    "stac": None,
    "tiles": None,
    "bucket": None,
    "order": "first",
    "mask_from": [],
    "allow": [],
    "sign": None,
    "allow_vrt": False,
    "aoi": None,
    "bbox": None,
    "crop": False,
    "simplify": None,
    "min_area": None,
    "polygons": [],
    "zones": None,
    "zone_field": None,
    "fractional": False,
    "compress": "auto",
}
# The same of keys that cutting always had, and ``options`` got later.
OPTIONS_CAME_LATER: dict[str, Any] = {"align": None}
# What earlier versions had where options now say auto, as models still have unless their cards say otherwise.
BEFORE_AUTO = {"taper": "hann", "tta": "none"}
# Words, never a line for a shell.
Command = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    Field(min_length=1),
    BeforeValidator(program_of),
]


class Workflow(CheckedValue):
    """The ``inputs`` of one prediction, or ``steps`` that follow one another.

    ``workers``: processes; 0: one per GPU, or one. ``cluster``: as for ``--cluster``, or a mapping that
    describes one. ``on_finish``: commands, each a list of words, run at the end. ``dicom``: what ``watch`` receives over
    the network, and where it sends products.
    """

    model_config = ConfigDict(populate_by_name=True)

    name: Name
    inputs: InputSettings | None = None
    model: Models | None = None
    options: OptionKeys = OptionKeys()
    post: Annotated[Post, BeforeValidator(as_list)] | None = None
    outputs: OutputSettings
    cluster: Cluster = "auto"
    workers: Count = 0
    limits: LimitSettings = LimitSettings()
    on_failure: OnFailure = OnFailure()
    on_finish: tuple[Command, ...] = ()
    pacs: PacsSettings | None = None
    steps: tuple[Step, ...] = ()

    @property
    def run_folder(self) -> str:
        """The folder of the journal and the report of a run."""
        return os.path.join(self.outputs.folder, RUNS, self.name)

    @property
    def sha256(self) -> str:
        """Digest of all keys that products depend on: a run is resumed only with the same."""
        plain = told_of(self.to_json())  # a new signature makes no other workflow
        made_of = json.dumps(_as_before({key: plain[key] for key in MADE_OF}), sort_keys=True)
        return hashlib.sha256(made_of.encode("utf-8", "surrogatepass")).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """JSON that ``Workflow.model_validate`` reads, as earlier versions wrote it where it says the same."""
        plain: dict[str, Any] = _without_later(self.model_dump(mode="json", by_alias=True))
        return plain

    def plan_options(self) -> PredictOptions:
        """The options of each input's plan."""
        return options_of(PredictOptions, self)

    def without_pictures(self) -> Workflow:
        """The same without quicklooks in its report."""
        steps = tuple(
            step.model_copy(update={"outputs": step.outputs.model_copy(update={"pictures": False})})
            if isinstance(step, PredictStep)
            else step
            for step in self.steps
        )
        outputs = self.outputs.model_copy(update={"pictures": False})
        return self.model_copy(update={"outputs": outputs, "steps": steps})

    def of_step(self, step: PredictStep) -> Workflow:
        """The workflow of this step alone: its own keys, the others from here."""
        own = {key: getattr(step, key) for key in ("inputs", "model", "options", "post", "outputs")}
        return self.model_copy(update={**own, "name": f"{self.name}-{step.name}", "steps": ()})

    @model_validator(mode="after")
    def _one_or_several_steps(self) -> Self:
        if not self.steps:
            require_pieces(self.inputs, self.outputs)
        if not self.steps:
            if self.inputs is None and self.pacs is None:
                raise ValueError("there is nothing to do: give inputs, or steps")
            return self
        fields = type(self).model_fields  # JSON of a workflow holds all keys, at their defaults
        own = {"inputs", "model", "options", "post"} & self.model_fields_set
        if any(getattr(self, key) != fields[key].default for key in own):
            raise ValueError(f"steps have {', '.join(sorted(own))} of their own: move them there")
        names = [step.name for step in self.steps]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two steps are called {twice}: give each a name of its own")
        return self


def with_network(workflow: Workflow, said: dict[str, Any]) -> Workflow:
    """The workflow with those keys of ``pacs`` that options say; PlanError where they contradict one another."""
    said = {key: value for key, value in said.items() if value}
    if not said:
        return workflow
    if "tls" in said:
        said["tls"] = os.path.abspath(said["tls"])
    before = workflow.pacs.model_dump(exclude_defaults=True) if workflow.pacs else {}
    try:
        network = PacsSettings.model_validate({**before, **said})
    except ValidationError as error:
        text = first_problem(error, "DICOM", PacsSettings).replace(": Value error, ", ": ")
        raise PlanError(text) from None
    return workflow.model_copy(update={"pacs": network})


def _as_before(plain: Any) -> Any:
    """Without the keys that change no map, and with ``auto`` as earlier versions said it, so that their runs go on."""
    if isinstance(plain, dict):
        return {key: _said(key, _as_before(v)) for key, v in plain.items() if key not in NO_MAP}
    return [_as_before(value) for value in plain] if isinstance(plain, list) else plain


def _said(key: str, value: Any) -> Any:
    """``value``; of a key that may be ``auto`` what stood for that before. Who asks for just this asks for it of any model."""
    if key not in BEFORE_AUTO or value not in ("auto", BEFORE_AUTO[key]):
        return value
    return BEFORE_AUTO[key] if value == "auto" else f"{value}, as asked for"


def _without_later(plain: Any, part: str = "") -> Any:
    """Without the keys that came later, at their defaults. ``part``: the key that leads to ``plain``."""
    if isinstance(plain, dict):
        later = CAME_LATER | (OPTIONS_CAME_LATER if part == "options" else {})
        return {
            key: _without_later(value, key)
            for key, value in plain.items()
            if key not in later or value != later[key]
        }
    return [_without_later(value) for value in plain] if isinstance(plain, list) else plain
