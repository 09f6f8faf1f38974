"""The steps of a workflow, one class per command.

Later steps may refer to the product of a step as ``${steps.NAME.output}``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator

from seg_batch.config.command_options import (
    CutOptions,
    EvaluateOptions,
    StartOptions,
    TrainOverrides,
)
from seg_batch.config.workflow.fields import Post, as_list
from seg_batch.config.workflow.option_keys import Keys, with_keys_of
from seg_batch.config.workflow.parts import (
    InputSettings,
    Models,
    OptionKeys,
    OutputSettings,
    require_pieces,
)
from seg_batch.config.workflow.paths import PairText, PathText, ReadingContext

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,60}$")]
Data = Annotated[tuple[PairText, ...], Field(min_length=1), BeforeValidator(as_list)]


class _NamedStep(Keys):
    """``name``: by default that of its command."""

    name: Name

    @model_validator(mode="before")
    @classmethod
    def _default_name(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("do"), str):
            return {"name": value["do"], **value}
        return value

    @model_validator(mode="after")
    def _note_output(self, info: ValidationInfo) -> Self:
        if isinstance(info.context, ReadingContext):
            info.context.outputs[self.name] = self.result
        return self

    @property
    def result(self) -> str:
        """The path of the product."""
        return str(self.output)  # type: ignore[attr-defined]


class PredictStep(_NamedStep):
    """Segment inputs, each into a product in the folder of ``outputs``."""

    do: Literal["predict"]
    inputs: InputSettings
    model: Models | None = None
    options: OptionKeys = OptionKeys()
    post: Annotated[Post, BeforeValidator(as_list)] | None = None
    outputs: OutputSettings

    @property
    def result(self) -> str:
        return self.outputs.folder

    @model_validator(mode="after")
    def _tiles_of_a_mosaic(self) -> Self:
        require_pieces(self.inputs, self.outputs)
        return self


@with_keys_of(CutOptions)
class PatchesStep(_NamedStep):
    """Cut pairs into the patch dataset ``output``; the arguments of ``segbatch patches``."""

    do: Literal["patches"]
    data: Data
    output: PathText
    recipe: PathText


@with_keys_of(TrainOverrides, StartOptions)
class TrainStep(_NamedStep):
    """Fit a network to data and write the bundle ``output``; the arguments of ``segbatch train``."""

    do: Literal["train"]
    data: Data
    output: PathText


@with_keys_of(EvaluateOptions)
class EvaluateStep(_NamedStep):
    """Score a model on held-out ``data``, or ``predictions`` against ``truth``, into the folder
    ``output``; the arguments of ``segbatch evaluate``."""

    do: Literal["evaluate"]
    data: PathText | None = None
    model: Models | None = None
    predictions: PathText | None = None
    truth: PathText | None = None
    output: PathText
    options: OptionKeys = OptionKeys()

    @model_validator(mode="after")
    def _model_or_predictions(self) -> Self:
        keys = {k for k in ("data", "model", "predictions", "truth") if getattr(self, k)}
        if keys not in ({"data", "model"}, {"predictions", "truth"}):
            raise ValueError("it takes data and a model, or predictions and truth")
        return self


AnyStep = PredictStep | PatchesStep | TrainStep | EvaluateStep
Step = Annotated[AnyStep, Field(discriminator="do")]
