"""The channels of a model: their names, the quantity that they measure, and what training saw of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from seg_batch.config.validation import CheckedValue, checked_by

Quantity = Literal["reflectance", "radiance", "DN", "dB", "kelvin", "HU", "SUV", "arbitrary"]


def _rising(span: tuple[float, float]) -> None:
    if span[0] > span[1]:
        raise ValueError(f"the least, {span[0]:g}, is above the greatest, {span[1]:g}")


Span = Annotated[tuple[float, float], checked_by(_rising)]


def _sizes(span: tuple[float, float]) -> None:
    if span[0] <= 0:
        raise ValueError(f"{span[0]:g} is no size: sizes are above 0")


def _shares(span: tuple[float, float]) -> None:
    if span[0] < 0 or span[1] > 1:
        raise ValueError("shares lie between 0 and 1")


Sizes = Annotated[Span, checked_by(_sizes)]
Shares = Annotated[Span, checked_by(_shares)]


class ChannelStatistics(CheckedValue):
    """The values of one channel over all images of a training, in physical units, without nodata.

    ``percentiles``: 0, 1, 50, 99 and 100; None where only mean and deviation are known. ``nodata_share``: of
    all voxels.
    """

    mean: float
    std: float = Field(ge=0)
    percentiles: tuple[float, float, float, float, float] | None = None
    nodata_share: float = Field(default=0, ge=0, le=1)

    @model_validator(mode="after")
    def _in_order(self) -> ChannelStatistics:
        if self.percentiles and list(self.percentiles) != sorted(self.percentiles):
            raise ValueError("percentiles rise from 0 to 100")
        return self

    @property
    def core(self) -> Span:
        """The percentiles 1 and 99; those of a normal distribution where they are not known."""
        if self.percentiles is None:
            return self.mean - 2.33 * self.std, self.mean + 2.33 * self.std
        return self.percentiles[1], self.percentiles[3]

    @property
    def limits(self) -> Span:
        """The least and the greatest value; six deviations where they are not known."""
        if self.percentiles is None:
            return self.mean - 6 * self.std, self.mean + 6 * self.std
        return self.percentiles[0], self.percentiles[4]


class Channel(CheckedValue):
    """One channel. A text is a channel of this name, of which no more is known.

    ``aliases``: other names that files have for it. ``quantity``: what its values are: stored numbers of a
    sensor (``DN``), Hounsfield units (``HU``), or ``arbitrary`` where each image has a scale of its own.
    """

    name: str
    aliases: tuple[str, ...] = ()
    quantity: Quantity | None = None
    statistics: ChannelStatistics | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_serializer(mode="wrap")
    def _shortest(self, whole: SerializerFunctionWrapHandler) -> Any:
        """The name alone where no more is known, as earlier versions wrote every channel."""
        return self.name if self == Channel(name=self.name) else whole(self)


Channels = tuple[Channel, ...]


def names_of(channels: Iterable[Channel]) -> tuple[str, ...]:
    return tuple(channel.name for channel in channels)
