"""How features of a vector file become labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from seg_batch.config.validation import CheckedValue

LabelId = Annotated[int, Field(ge=0, lt=1 << 16)]


class VectorLabels(CheckedValue):
    """Of labels that are GeoJSON, GeoPackage, FlatGeobuf or GeoParquet.

    ``field``: the one with the class of a feature; None: ``class_id``, ``class`` or ``label``, the first that there is.
    ``classes``: ids of classes by values of the field; other values are ids or names of classes themselves.
    ``all_touched``: a polygon holds each pixel that it touches, not those with their centre in it.
    ``outside``: what is where no feature lies: ``ignore``, or the id of a class. ``line_width_m``: of lines, and the
    diameter of points, in metres; None: the pixels that they touch."""

    field: str | None = None
    classes: dict[str, LabelId] = Field(default_factory=dict)
    all_touched: bool = False
    outside: Literal["ignore"] | LabelId = "ignore"
    line_width_m: float | None = Field(default=None, gt=0)


BY_THEMSELVES = VectorLabels()


def as_far_as_known(plain: Mapping[str, Any]) -> VectorLabels:
    """Of settings that are not checked yet; those that are wrong are refused where they are checked."""
    try:
        return VectorLabels.model_validate(dict(plain))
    except ValidationError:
        return BY_THEMSELVES
