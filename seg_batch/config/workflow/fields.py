"""Types of values in workflows: sizes, durations, times of day, post-processing steps."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainValidator
from pydantic_core import PydanticKnownError

from seg_batch.config.postprocess import NONE, parse_chain
from seg_batch.config.predict_options import band_names
from seg_batch.config.validation import checked_by
from seg_batch.core.errors import PlanError
from seg_batch.core.registry.formats import product_endings
from seg_batch.core.text import either
from seg_batch.core.units import parse_bytes

_TIME = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")


def product_names(kind: str) -> list[str]:
    """The formats of products of a kind of input, as a workflow calls them, the usual one first."""
    return [ending.removeprefix(".") for ending in product_endings(kind)]


def product_name(kind: str) -> PlainValidator:
    """A validator for one of those, which are asked for only when there is something to check."""

    def check(value: object) -> object:
        if value not in (names := product_names(kind)):
            raise PydanticKnownError("literal_error", {"expected": either([*map(repr, names)])})
        return value

    return PlainValidator(check)


def _check_size(text: str) -> None:
    with suppress(ValueError, OverflowError):
        if parse_bytes(text) > 0:
            return
    raise ValueError(f"{text[:40]!r} is no size: write one like 8GiB or 500MB")


def _check_time(text: str) -> None:
    if _TIME.fullmatch(text) is None:
        raise ValueError(f"{text[:40]!r} is no time of day: write one like 06:30")


def next_time(text: str, now: datetime) -> datetime:
    """The next local time ``text`` ("06:30") after ``now`` (local, may be naive): tomorrow's where today's
    has passed, also where the clocks change in between."""
    hour, minute = map(int, text.split(":"))
    for days in (0, 1):
        day = (now + timedelta(days=days)).replace(tzinfo=None)
        then = day.replace(hour=hour, minute=minute, second=0, microsecond=0).astimezone()
        if then > now.astimezone():
            return then
    raise AssertionError("tomorrow is later than today")


def _check_step(text: str) -> None:
    try:
        parse_chain([text])
    except PlanError as error:
        raise ValueError(error.message.removeprefix("--post ")) from None


def _check_steps(steps: tuple[str, ...]) -> None:
    if NONE in steps and len(steps) > 1:
        raise ValueError("none stands alone: drop it, or the other steps")


def as_list(value: object) -> object:
    """A single text as a list of one."""
    return [value] if isinstance(value, str) else value


def _band_list(value: object) -> object:
    """A text as on the command line, a number, or a list of both, as a list of texts."""
    values = value if isinstance(value, list | tuple) else [value]
    if any(isinstance(each, bool) or not isinstance(each, str | int) for each in values):
        raise ValueError("write bands like B2,B3,B4 or [3, 2, 1]")
    if isinstance(value, str):
        try:
            return list(band_names("bands", value))
        except PlanError as error:
            raise ValueError(error.message) from None
    return [str(each) for each in values]


def _number_list(value: object) -> object:
    """A number, or a text as on the command line, as a list of numbers."""
    if isinstance(value, str) and value != "none":
        try:
            return [float(part) for part in value.split(",")]
        except ValueError:
            raise ValueError(f"{value[:40]!r} is no number, nor a list of them") from None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return [value] if is_number else value


RasterProduct = Annotated[str, product_name("raster")]
VolumeProduct = Annotated[str, product_name("volume")]
Size = Annotated[str, checked_by(_check_size)]
TimeOfDay = Annotated[str, checked_by(_check_time)]
PostStep = Annotated[str, checked_by(_check_step)]
Post = Annotated[tuple[PostStep, ...], Field(min_length=1), checked_by(_check_steps)]
Count = Annotated[int, Field(strict=True, ge=0)]
Positive = Annotated[int, Field(strict=True, ge=1)]
Words = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(as_list)]
Bands = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    Field(min_length=1),
    BeforeValidator(_band_list),
]
Numbers = Annotated[tuple[float, ...], BeforeValidator(_number_list)]
