"""How stored values become model input, as a card has it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import (
    PositiveFloat,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from seg_batch.config.validation import CheckedValue
from seg_batch.core.normalise import Normaliser
from seg_batch.core.statistics import ChannelKind, PerImage
from seg_batch.core.statistics.schemes import SCHEMES


class Normalisation(CheckedValue):
    """How stored values become model input. ``card``: with the numbers here, one per channel, in physical
    units. ``identity``: not at all. Else with numbers of each input, from one pass over it: ``source``, its mean and
    std; ``nonzero``, those of its voxels that are not 0 in all channels, and the others stay 0; ``range``, its least
    value becomes 0 and its greatest 1; ``percentiles``, so do its percentiles 2 and 98, to which values are clipped.
    ``mixed``: ``kinds`` has one of these for each channel; the numbers here count where it is ``card``, and a limit is none
    where a channel is not clipped."""

    kind: Literal["card", "identity", "mixed", PerImage]
    mean: tuple[float, ...] = ()
    std: tuple[PositiveFloat, ...] = ()
    low: tuple[float | None, ...] | None = None
    high: tuple[float | None, ...] | None = None
    kinds: tuple[ChannelKind, ...] = ()

    @model_serializer(mode="wrap")
    def _without_default(self, whole: SerializerFunctionWrapHandler) -> Any:
        """As earlier versions wrote it, where they knew all of it."""
        values = whole(self)
        if not self.kinds:
            values.pop("kinds", None)
        return values

    @model_validator(mode="after")
    def _kinds(self) -> Normalisation:
        if bool(self.kinds) != (self.kind == "mixed"):
            raise ValueError("mixed and kinds, one for each channel, come together or not at all")
        numbers = len(self.mean), len(self.std)
        if "card" in self.kinds and {*numbers} != {len(self.kinds)}:
            raise ValueError(
                "mixed needs one mean and one std per channel: 0 and 1 where another kind counts"
            )
        return self

    @model_validator(mode="after")
    def _limits(self) -> Normalisation:
        given = (self.mean, self.std, self.low, self.high)
        if self.kind in SCHEMES and self.kind != "source" and any(given):
            raise ValueError(
                f"{self.kind} takes the numbers of each image: leave mean, std, low and high out"
            )
        if (self.low is None) != (self.high is None):
            raise ValueError("low and high come together or not at all")
        if self.low is not None and self.high is not None:
            if not len(self.low) == len(self.high) == len(self.mean):
                raise ValueError("normalisation needs one low and one high per channel")
            for a, b in zip(self.low, self.high, strict=True):
                if (a is None or b is None) and (self.kind != "mixed" or a is not b):
                    raise ValueError(
                        "a channel that is not clipped has neither low nor high, and is one of mixed"
                    )
                if a is not None and b is not None and a >= b:
                    raise ValueError("low must lie below high")
        return self

    @property
    def per_image(self) -> bool:
        """Whether each image has its own numbers, so that its values may be in any unit."""
        return bool(SCHEMES.keys() & {self.kind, *self.kinds})

    @property
    def measures(self) -> str:
        """What is measured of each image, in words."""
        kinds = [kind for kind in (self.kind, *self.kinds) if kind in SCHEMES]
        return " and ".join(dict.fromkeys(SCHEMES[kind].what for kind in kinds))

    @property
    def each(self) -> Normaliser:
        """Of mixed ones the numbers of the card, of the identity where it has none."""
        own = [kind == "card" for kind in self.kinds]
        empty = (None,) * len(own)
        low, high = (
            tuple(v if mine else None for v, mine in zip(ends or empty, own, strict=True))
            for ends in (self.low, self.high)
        )
        return Normaliser(
            tuple(v if mine else 0.0 for v, mine in zip(self.mean or own, own, strict=True)),
            tuple(v if mine else 1.0 for v, mine in zip(self.std or own, own, strict=True)),
            *((low, high) if self.low else (None, None)),
        )

    def normaliser(self) -> Normaliser | None:
        """The normaliser of the card's numbers; None where each image has its own numbers."""
        if self.kind == "identity":
            return Normaliser()
        if self.kind == "mixed" and not self.per_image:
            return self.each
        return Normaliser(self.mean, self.std, self.low, self.high) if self.kind == "card" else None
