"""What training never sees: whole cases, boxes of scenes, or the folds of a cross-validation."""

from __future__ import annotations

from pydantic import Field, model_validator

from seg_batch.geometry import Box, Shape
from seg_batch.recipe.draft import Frozen

PARTS = ("training", "validation", "test")


class Part(Frozen):
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


class HoldOut(Frozen):
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
