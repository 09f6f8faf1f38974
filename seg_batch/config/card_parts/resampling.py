"""The rules by which an image comes to the voxel size of a model, as a card has them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from seg_batch.config.validation import CheckedValue

Rule = Literal["nearest", "linear", "cubic", "area"]


class Resampling(CheckedValue):
    """How an image is brought to the grid of the model, along axes whose voxels differ from ``spacing_mm`` or
    ``pixel_m`` by more than the ``tolerance``.

    ``up``: the rule where the grid of the model is finer, ``down``: where it is coarser. ``thick``: the rule along the
    axis of a volume whose voxels are longer than its others by more than ``thick_ratio``, as in nnU-Net
    (Isensee et al. 2021). ``normalised``: values are normalised before they are resampled, and stay in the range that they
    had then in the image, or in their slice where ``thick`` takes whole slices; else after it.
    """

    up: Rule = "cubic"
    down: Rule = "area"
    thick: Rule = "nearest"
    thick_ratio: float = Field(default=3.0, ge=1, allow_inf_nan=False)
    tolerance: float = Field(default=0.02, ge=0, le=0.5)
    normalised: bool = False

    @model_serializer(mode="wrap")
    def _without_default(self, whole: SerializerFunctionWrapHandler) -> Any:
        """As earlier versions wrote it, where they knew all of it."""
        values = whole(self)
        if not self.normalised:
            values.pop("normalised", None)
        return values


AS_NNUNET = Resampling()


def default_resampling(others: dict[str, Any]) -> Resampling:
    """By the other fields of a card: linear upwards where 0 has to stay 0, of which cubic weights make small values."""
    rule = others.get("normalisation")
    masked = "nonzero" in (getattr(rule, "kind", rule), *getattr(rule, "kinds", ()))
    return Resampling(up="linear") if masked else AS_NNUNET


def known_resampling(plain: Any) -> Resampling:
    """The rules of settings that are not checked yet; the default where they are none."""
    try:
        return Resampling.model_validate(plain)
    except ValidationError:
        return AS_NNUNET


def require_zeros_kept(kinds: Collection[str], rules: Resampling) -> None:
    """ValueError where these rules would take the zeros from a scheme that goes by them."""
    if (
        "nonzero" in kinds
        and not rules.normalised
        and "cubic" in (rules.up, rules.down, rules.thick)
    ):
        raise ValueError(
            "cubic resampling makes small values of 0, by which nonzero goes: use linear"
        )
