"""What a training is made of, in one JSON file: the card to be, the cut, the hold-out, the fit.

Frozen pydantic values; unknown keys are refused. A recipe is stored with the patch dataset made
by it, so that ``train`` needs nothing else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from seg_batch.card import ClassInfo, ModelCard, Normalisation, SkipRule
from seg_batch.errors import InputError
from seg_batch.geometry import Box, Shape
from seg_batch.normalise import Normaliser

PARTS = ("training", "validation", "test")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Draft(_Frozen):
    """The card of the bundle to be: all but what only the training can tell.

    ``normalisation``: ``card`` measures mean and std over the training part of all images,
    ``source`` over each image by itself, ``identity`` leaves physical values as they are.
    """

    name: str
    description: str = ""
    kind: Literal["raster", "volume"]
    rank: Literal[2, 3]
    channels: tuple[str, ...] = Field(min_length=1)
    classes: tuple[ClassInfo, ...] = Field(min_length=2)
    patch: tuple[int, ...]
    overlap: tuple[int, ...]
    margin: tuple[int, ...] | None = None
    normalisation: Literal["card", "source", "identity"]
    spacing_mm: tuple[float, ...] | None = None
    pixel_m: float | None = None
    orientation: str = "RAS"
    skip: SkipRule | None = None
    licence: str = ""
    training_data: str = ""

    def card(self, numbers: Normaliser | None = None, **measured: Any) -> ModelCard:
        """The card with the normaliser's numbers (kind ``card``) and whatever was measured."""
        rule = Normalisation(kind=self.normalisation)
        if self.normalisation == "card":
            filler = (1.0,) * len(self.channels)
            mean, std = (numbers.mean, numbers.std) if numbers else (filler, filler)
            rule = Normalisation(kind="card", mean=mean, std=std)
        drafted = {name: getattr(self, name) for name in type(self).model_fields}
        return ModelCard(**{**drafted, "normalisation": rule, **measured})

    @model_validator(mode="after")
    def _makes_a_card(self) -> Draft:
        self.card()
        return self


class Cut(_Frozen):
    """The tiles of the dataset. They may be larger than what the model is trained on, so that
    each step crops at another place. ``ignore``: label values that are no class, besides nodata."""

    patch: tuple[int, ...]
    overlap: tuple[int, ...]
    ignore: tuple[int, ...] = (255,)


class Part(_Frozen):
    """What is held out: whole cases, by name or every n-th from ``first`` in sorted order; or
    boxes ``[start, stop]`` in voxels, in every case."""

    cases: tuple[str, ...] = ()
    every: int = Field(default=0, ge=0)
    first: int = Field(default=0, ge=0)
    boxes: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = ()

    def has_case(self, case: str, index: int) -> bool:
        nth = self.every > 0 and index >= self.first and (index - self.first) % self.every == 0
        return nth or case in self.cases

    def boxes_in(self, extent: Shape) -> list[Box]:
        """The boxes, clipped to the extent; those outside it are left out."""
        found = [Box(*pair).intersection(Box.whole(extent)) for pair in self.boxes]
        return [box for box in found if box.size]


class HoldOut(_Frozen):
    """What training never sees: ``validation`` chooses the checkpoint, ``test`` is scored once."""

    validation: Part = Part()
    test: Part = Part()

    def part_of(self, case: str, index: int) -> str | None:
        """``test`` or ``validation`` for a case that is held out whole, else None."""
        for name in ("test", "validation"):
            if getattr(self, name).has_case(case, index):
                return name
        return None

    def boxes_in(self, extent: Shape) -> list[tuple[str, Box]]:
        parts = ("validation", "test")
        return [(name, box) for name in parts for box in getattr(self, name).boxes_in(extent)]

    @model_validator(mode="after")
    def _apart(self) -> HoldOut:
        for a in self.validation.boxes:
            for b in self.test.boxes:
                if Box(*a).touches(Box(*b)):
                    raise ValueError(f"validation box {a} touches test box {b}")
        return self


class Augment(_Frozen):
    """How patches are varied, all in normalised units; zeros and empty switch a step off.

    ``flip``: spatial axes that may be mirrored. ``quarter_turns``: two spatial axes of equal
    patch side. ``rotate_degrees`` (at most, about each axis) and ``scale`` (0.1: 0.9 to 1.1)
    warp a share ``warped`` of the patches. ``gain``, ``shift``, ``noise`` are standard
    deviations, ``gamma`` and ``blur`` largest exponent change and blur in voxels.
    """

    flip: tuple[int, ...] = ()
    quarter_turns: tuple[int, int] | None = None
    rotate_degrees: float = Field(default=0, ge=0, le=180)
    scale: float = Field(default=0, ge=0, lt=1)
    warped: float = Field(default=1, ge=0, le=1)
    gain: float = Field(default=0, ge=0)
    shift: float = Field(default=0, ge=0)
    gamma: float = Field(default=0, ge=0, lt=1)
    noise: float = Field(default=0, ge=0)
    blur: float = Field(default=0, ge=0)


class Fit(_Frozen):
    """How the network is trained. ``patch``: side of the training crops (default: the card's).

    ``balance``: share of the draws that pick a class first and then a patch that has it.
    ``score``: what decides which checkpoint is best. ``minutes`` ends training early.
    """

    filters: tuple[int, ...] = (16, 32, 64, 128)
    patch: tuple[int, ...] | None = None
    batch: int = Field(default=8, ge=1)
    steps: int = Field(default=2000, ge=1)
    minutes: float | None = Field(default=None, gt=0)
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    ema: float = Field(default=0.99, ge=0, lt=1)
    dice_weight: float = Field(default=1.0, ge=0)
    ce_weight: float = Field(default=1.0, ge=0)
    smoothing: float = Field(default=0.0, ge=0, lt=1)
    balance: float = Field(default=0.5, ge=0, le=1)
    validate_every: int = Field(default=100, ge=1)
    score: Literal["accuracy", "dice"] = "dice"
    seed: int = 0
    augment: Augment = Augment()


class Recipe(_Frozen):
    """Everything ``patches`` and ``train`` need to know."""

    card: Draft
    cut: Cut
    hold_out: HoldOut = HoldOut()
    fit: Fit = Fit()

    @property
    def fit_patch(self) -> Shape:
        """What one training crop covers, in voxels."""
        return self.fit.patch or self.card.patch

    @property
    def background(self) -> int | None:
        """Index of the class with id 0, which scores leave out of their means; None without."""
        return next((k for k, c in enumerate(self.card.classes) if c.id == 0), None)

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        rank = self.card.rank
        if {len(self.cut.patch), len(self.cut.overlap), len(self.fit_patch)} != {rank}:
            raise ValueError(f"cut and fit patches must have the card's rank, {rank}")
        if any(f > c for f, c in zip(self.fit_patch, self.cut.patch, strict=True)):
            raise ValueError(f"a fit patch {self.fit_patch} can't be cropped from {self.cut.patch}")
        turns = self.fit.augment.quarter_turns
        axes = {*self.fit.augment.flip, *(turns or ())}
        if axes - set(range(rank)):
            raise ValueError(f"flip and quarter_turns name axes 0 to {rank - 1}")
        if turns and self.fit_patch[turns[0]] != self.fit_patch[turns[1]]:
            raise ValueError("quarter_turns need two axes of equal fit patch side")
        return self

    @model_validator(mode="after")
    def _boxes_are_regions(self) -> Recipe:
        axes = {"raster": 2, "volume": 3}[self.card.kind]
        for start, stop in (*self.hold_out.validation.boxes, *self.hold_out.test.boxes):
            if not len(start) == len(stop) == axes or any(map(int.__ge__, start, stop)):
                raise ValueError(
                    f"the hold_out box {start} to {stop} is no region of a {self.card.kind}: give "
                    f"two times {axes} voxel numbers, each start below its stop"
                )
        return self


def parse_recipe(text: str, where: str) -> Recipe:
    """The recipe in ``text``; InputError in one line when it is not one."""
    try:
        return Recipe.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "recipe"
        raise InputError(f"{where}: {field}: {first['msg']}; mend the recipe") from None


def read_recipe(path: Path) -> Recipe:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"the recipe {path} can't be read ({error}): give a JSON file like those in workflows/"
        ) from None
    return parse_recipe(text, str(path))
