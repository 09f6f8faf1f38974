"""What was measured of a network: what a patch costs, and how far its border effect reaches."""

from __future__ import annotations

from typing import Any

from pydantic import (
    Field,
    NonNegativeInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from seg_batch.config.validation import CheckedValue


class Compute(CheckedValue):
    """The cost of one patch, measured when the bundle was made."""

    activation_bytes: int = Field(default=0, ge=0, description="working memory per patch")
    flops: float = Field(default=0, ge=0, description="multiply-adds x 2 per patch")
    weights_bytes: int = Field(
        default=0,
        ge=0,
        description="of a network that came from elsewhere, or is in ONNX; 0: few, as of our own",
    )

    @model_serializer(mode="wrap")
    def _without_zero(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Cards of our own networks, and all that holds them, keep their bytes."""
        values: dict[str, Any] = handler(self)
        return (
            values
            if self.weights_bytes
            else {k: v for k, v in values.items() if k != "weights_bytes"}
        )


class Border(CheckedValue):
    """The measured border effect of a patch, in voxels per axis of the model's view.

    ``reach``: the outer voxels per side whose labels depend on where the patch lies. ``overlap``
    and ``margin``: the values recommended for it. ``how``: the numbers behind them.
    """

    reach: tuple[NonNegativeInt, ...]
    overlap: tuple[NonNegativeInt, ...]
    margin: tuple[NonNegativeInt, ...]
    how: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_rank(self) -> Border:
        if not len(self.reach) == len(self.overlap) == len(self.margin):
            raise ValueError("border needs one reach, one overlap and one margin per axis")
        return self
