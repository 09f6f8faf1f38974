"""What a network file leaves open: its tensors, and what its output means."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from pydantic import Field, NonNegativeInt, model_validator

from seg_batch.config.validation import CheckedValue

Layout = Literal["channels_last", "channels_first"]
Scores = Literal["probabilities", "logits"]


class Tensors(CheckedValue):
    """The one input and the one output of a file that are used, by name, and the order of their axes."""

    layout: Layout = "channels_last"
    input: str = ""
    output: str = ""


class Output(CheckedValue):
    """From the output of a network to labels.

    ``gives``: what the file computes per voxel; a predictor turns logits into what ``blend`` names. ``classes``:
    ``exclusive`` ones share one softmax (one output is the sigmoid of the second of two); of ``independent`` ones each
    but the background has an output and a sigmoid of its own. ``blend``: what is averaged over tiles, views and
    members. ``rule``: of independent classes above the ``threshold`` a voxel gets the one of the ``largest`` probability, or the
    ``last`` in the order of the card, as the regions of nnU-Net; where there is none, the background. ``shrink``: voxels
    per side and axis by which the output is smaller than the patch (valid convolutions).
    """

    gives: Scores = "probabilities"
    classes: Literal["exclusive", "independent"] = "exclusive"
    blend: Scores = "probabilities"
    rule: Literal["largest", "last"] = "largest"
    threshold: float = Field(default=0.5, gt=0, lt=1)
    shrink: tuple[NonNegativeInt, ...] | None = None

    @model_validator(mode="after")
    def _possible(self) -> Output:
        if self.blend == "logits" and self.gives == "probabilities":
            raise ValueError("logits can't be blended of a network that gives probabilities")
        if self.classes == "exclusive" and self.rule != "largest":
            raise ValueError(
                "of exclusive classes the largest probability decides: rule is for independent ones"
            )
        return self


AS_BEFORE = Output()


@dataclass(frozen=True)
class Network:
    """What an engine needs to know of a file beside its weights. ``classes``: of the card, 0: as many as the file
    has; ``background``: the index of the background in them."""

    tensors: Tensors | None = None
    output: Output = AS_BEFORE
    classes: int = 0
    background: int | None = None

    @classmethod
    def raw(cls, tensors: Tensors | None) -> Network:
        """A file whose output is left as it is."""
        return cls(tensors, Output(classes="independent"))

    @property
    def activated(self) -> Network:
        """It, where its graph has the activation that it lacks."""
        output = self.output.model_copy(update={"gives": self.output.blend})
        return replace(self, output=output)

    @property
    def of_probabilities(self) -> Network:
        """It, where probabilities are what is blended."""
        output = self.output.model_copy(update={"blend": "probabilities"})
        return replace(self, output=output)


OURS = Network()
