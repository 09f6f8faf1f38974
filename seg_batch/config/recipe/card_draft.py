"""The card of the bundle that a training will make, and the tiles of its dataset."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from seg_batch.config.card import (
    STORED,
    ClassInfo,
    Missing,
    Modality,
    ModelCard,
    Normalisation,
    Size,
    SkipRule,
)
from seg_batch.config.card_parts.channels import Channels, names_of
from seg_batch.config.card_parts.resampling import Resampling, default_resampling
from seg_batch.config.validation import CheckedValue
from seg_batch.core.normalise import Normaliser
from seg_batch.core.statistics import PerImage
from seg_batch.core.statistics.schemes import SCHEMES


class CardTemplate(CheckedValue):
    """A card without what only the training measures.

    ``normalisation``: ``card`` measures mean and std over the training part of all images, ``ct`` over the
    foreground of it, with percentiles .5 and 99.5 to clip to (both make a card of kind ``card``); the others are those
    of a card.
    ``background``: id of the class that mean scores and Dice losses leave out; None: no class.
    """

    name: str
    description: str = ""
    kind: Literal["raster", "volume"]
    rank: Literal[2, 3]
    modality: Modality | None = None
    channels: Annotated[Channels, Field(min_length=1)]
    missing: Missing = "any"
    classes: tuple[ClassInfo, ...] = Field(min_length=2)
    background: int | None = 0
    patch: tuple[int, ...]
    overlap: tuple[int, ...]
    margin: tuple[int, ...] | None = None
    normalisation: Literal["card", "ct", "identity", PerImage]
    spacing_mm: tuple[Size, ...] | None = None
    pixel_m: Size | None = None
    resampling: Resampling = Field(default_factory=default_resampling)
    orientation: str = "RAS"
    skip: SkipRule | None = None
    licence: str = ""
    training_data: str = ""

    def card(self, numbers: Normaliser | None = None, **measured: Any) -> ModelCard:
        """The card with the numbers of the normaliser (``card`` and ``ct``; None: placeholders) and the
        fields in ``measured``."""
        if self.normalisation == "card" or self.normalisation == "ct":
            ones = (1.0,) * len(self.channels)
            known = numbers or Normaliser(ones, ones)
            rule = Normalisation(
                kind="card", mean=known.mean, std=known.std, low=known.low, high=known.high
            )
        else:
            rule = Normalisation(kind=self.normalisation)
        return ModelCard(**{**dict(self), "normalisation": rule, **measured})

    @property
    def per_image(self) -> bool:
        """Whether each image has its own numbers."""
        return self.normalisation in SCHEMES

    @property
    def channel_names(self) -> tuple[str, ...]:
        return names_of(self.channels)

    @model_validator(mode="after")
    def _makes_a_card(self) -> CardTemplate:
        self.card()
        ids, names = [c.id for c in self.classes], [c.name for c in self.classes]
        if self.background not in (None, 0, *ids):
            raise ValueError(
                f"background {self.background} is no class: give the id of one, or null"
            )
        if len(set(names)) < len(names):
            raise ValueError("two classes share a name, their scores could not be told apart")
        return self

    @model_validator(mode="after")
    def _can_be_trained(self) -> CardTemplate:
        if (
            self.resampling.normalised
            or not self.orientation.isalpha()
            or self.orientation == STORED
        ):
            raise ValueError(
                "resampling.normalised and the orientation stored are for models from elsewhere: leave them out"
            )
        return self

    @model_validator(mode="after")
    def _has_a_grid(self) -> CardTemplate:
        if self.spacing_mm is not None and len(self.spacing_mm) != 3:
            raise ValueError(
                f"spacing_mm {list(self.spacing_mm)} is no size of a voxel: give three numbers in mm, for z, y, x"
            )
        return self


class Cut(CheckedValue):
    """The tiles of the dataset, in voxels. Where they are larger than the training crops, each step
    crops at another place. ``ignore``: label values that are no class, besides nodata."""

    patch: tuple[int, ...]
    overlap: tuple[int, ...]
    ignore: tuple[int, ...] = (255,)
