"""What a network costs, as its card says it."""

from __future__ import annotations

from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from seg_batch.config.validation import CheckedValue


class Compute(CheckedValue):
    """The cost of one patch, measured when the bundle was made."""

    activation_bytes: int = Field(default=0, ge=0, description="working memory per patch")
    flops: float = Field(default=0, ge=0, description="multiply-adds x 2 per patch")
    weights_bytes: int = Field(
        default=0, ge=0, description="of the file of a network; 0: few, as of our own"
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
