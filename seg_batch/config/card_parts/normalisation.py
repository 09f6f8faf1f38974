"""How stored values become model input, as a card has it."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveFloat, model_validator

from seg_batch.config.validation import CheckedValue
from seg_batch.core.normalise import Normaliser
from seg_batch.core.statistics import PerImage
from seg_batch.core.statistics.schemes import SCHEMES


class Normalisation(CheckedValue):
    """How stored values become model input. ``card``: with the numbers here, one per channel, in physical
    units. ``identity``: not at all. Else with numbers of each input, from one pass over it: ``source``, its mean and
    std; ``nonzero``, those of its voxels that are not 0 in all channels, and the others stay 0; ``range``, its least
    value becomes 0 and its greatest 1; ``percentiles``, so do its percentiles 2 and 98, to which values are clipped."""

    kind: Literal["card", "identity", PerImage]
    mean: tuple[float, ...] = ()
    std: tuple[PositiveFloat, ...] = ()
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None

    @model_validator(mode="after")
    def _limits(self) -> Normalisation:
        given = (self.mean, self.std, self.low, self.high)
        if self.per_image and self.kind != "source" and any(given):
            raise ValueError(
                f"{self.kind} takes the numbers of each image: leave mean, std, low and high out"
            )
        if (self.low is None) != (self.high is None):
            raise ValueError("low and high come together or not at all")
        if self.low is not None and self.high is not None:
            if not len(self.low) == len(self.high) == len(self.mean):
                raise ValueError("normalisation needs one low and one high per channel")
            if any(a >= b for a, b in zip(self.low, self.high, strict=True)):
                raise ValueError("low must lie below high")
        return self

    @property
    def per_image(self) -> bool:
        """Whether each image has its own numbers, so that its values may be in any unit."""
        return self.kind in SCHEMES

    def normaliser(self) -> Normaliser | None:
        """The normaliser of the card's numbers; None where each image has its own numbers."""
        if self.kind == "identity":
            return Normaliser()
        return Normaliser(self.mean, self.std, self.low, self.high) if self.kind == "card" else None
