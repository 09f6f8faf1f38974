"""The recipe of a training, in one YAML file: card, tiles, hold-out, network, loss, optimiser and run.

A recipe is stored with the patch dataset made by it, so that ``train`` needs nothing else.
"""

from __future__ import annotations

from typing import Any

from pydantic import SerializerFunctionWrapHandler, model_serializer, model_validator

from seg_batch.config.recipe.augmentation import Augment, Sampling
from seg_batch.config.recipe.card_draft import CardTemplate, Cut
from seg_batch.config.recipe.hold_out import HoldOut
from seg_batch.config.recipe.training import FitSettings, Loss, Network, Optimiser, Schedule
from seg_batch.config.recipe.vector_labels import BY_THEMSELVES, VectorLabels
from seg_batch.config.validation import CheckedValue
from seg_batch.core.geometry import Shape


class Recipe(CheckedValue):
    """Everything that ``patches`` and ``train`` need; unknown keys are refused."""

    card: CardTemplate
    cut: Cut
    vector_labels: VectorLabels = BY_THEMSELVES
    hold_out: HoldOut = HoldOut()
    sampling: Sampling = Sampling()
    augment: Augment = Augment()
    network: Network = Network()
    loss: Loss = Loss()
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    fit: FitSettings = FitSettings()

    @model_serializer(mode="wrap")
    def _without_what_is_usual(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Recipes of before, and what is resumed by them, stay as they are."""
        out: dict[str, Any] = plain(self)
        if self.vector_labels == BY_THEMSELVES:
            del out["vector_labels"]
        return out

    @property
    def fit_patch(self) -> Shape:
        """The sides of a training crop, in voxels."""
        return self.fit.patch or self.card.patch

    @property
    def background(self) -> int | None:
        """Index of the class that mean scores leave out; None where every class counts."""
        return self.card.card().background_index

    def changed(self, **parts: dict[str, Any]) -> Recipe:
        """The recipe with some values of some parts replaced: ``changed(fit={"steps": 10})``."""
        plain = self.model_dump(mode="json")
        return Recipe.model_validate(
            {**plain, **{k: {**plain.get(k, {}), **v} for k, v in parts.items()}}
        )

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        rank = self.card.rank
        if {len(self.cut.patch), len(self.cut.overlap), len(self.fit_patch)} != {rank}:
            raise ValueError(f"cut and fit patches must have the card's rank, {rank}")
        if any(f > c for f, c in zip(self.fit_patch, self.cut.patch, strict=True)):
            raise ValueError(f"a fit patch {self.fit_patch} can't be cropped from {self.cut.patch}")
        turns = self.augment.quarter_turns
        axes = {*self.augment.flip, *(turns or ())}
        if axes - set(range(rank)):
            raise ValueError(f"flip and quarter_turns name axes 0 to {rank - 1}")
        if turns and self.fit_patch[turns[0]] != self.fit_patch[turns[1]]:
            raise ValueError("quarter_turns need two axes of equal fit patch side")
        if self.background not in (None, 0):
            raise ValueError(
                "the background has to be the first of the classes: losses skip that one"
            )
        return self

    @model_validator(mode="after")
    def _check_boxes(self) -> Recipe:
        axes = {"raster": 2, "volume": 3}[self.card.kind]
        for start, stop in (*self.hold_out.validation.boxes, *self.hold_out.test.boxes):
            if not len(start) == len(stop) == axes or any(map(int.__ge__, start, stop)):
                raise ValueError(
                    f"the hold_out box {start} to {stop} is no region of a {self.card.kind}: give "
                    f"two times {axes} voxel numbers, each start below its stop"
                )
        return self
