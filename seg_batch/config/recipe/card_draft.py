"""The card of the bundle that a training will make, and the tiles of its dataset."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from seg_batch.config.card import (
    AS_NNUNET,
    ClassInfo,
    Missing,
    Modality,
    ModelCard,
    Normalisation,
    Resampling,
    SkipRule,
)
from seg_batch.config.channels import Channels, names_of
from seg_batch.config.validation import CheckedValue
from seg_batch.core.normalise import Normaliser


class CardTemplate(CheckedValue):
    """A card without what only the training measures.

    ``normalisation``: ``card`` measures mean and std over the training part of all images,
    ``source`` over each image by itself, ``identity`` leaves physical values unchanged.
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
    normalisation: Literal["card", "source", "identity"]
    spacing_mm: tuple[float, ...] | None = None
    pixel_m: float | None = None
    resampling: Resampling = AS_NNUNET
    orientation: str = "RAS"
    skip: SkipRule | None = None
    licence: str = ""
    training_data: str = ""

    def card(self, numbers: Normaliser | None = None, **measured: Any) -> ModelCard:
        """The card with the numbers of the normaliser (kind ``card``; None: placeholders) and the
        fields in ``measured``."""
        rule = Normalisation(kind=self.normalisation)
        if self.normalisation == "card":
            ones = (1.0,) * len(self.channels)
            mean, std = (numbers.mean, numbers.std) if numbers else (ones, ones)
            rule = Normalisation(kind="card", mean=mean, std=std)
        return ModelCard(**{**dict(self), "normalisation": rule, **measured})

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


class Cut(CheckedValue):
    """The tiles of the dataset, in voxels. Where they are larger than the training crops, each step
    crops at another place. ``ignore``: label values that are no class, besides nodata."""

    patch: tuple[int, ...]
    overlap: tuple[int, ...]
    ignore: tuple[int, ...] = (255,)
