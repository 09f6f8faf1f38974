"""The held-out data: whole cases, boxes in them, or the folds of a cross-validation."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from itertools import combinations

from pydantic import Field, model_validator

from seg_batch.config.validation import CheckedValue
from seg_batch.core.geometry import Box, Shape

PARTS = ("training", "validation", "test")


class HeldPart(CheckedValue):
    """One held-out part: whole cases, by name or every n-th from ``first`` in sorted order; or
    boxes ``[start, stop]`` in every case, in voxels of the model's grid and in its axes."""

    cases: tuple[str, ...] = ()
    every: int = Field(default=0, ge=0)
    first: int = Field(default=0, ge=0)
    boxes: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = ()

    @property
    def asked(self) -> bool:
        """Whether the part holds anything."""
        return bool(self.cases or self.every or self.boxes)

    def has_case(self, case: str, index: int) -> bool:
        nth = self.every > 0 and index >= self.first and (index - self.first) % self.every == 0
        return nth or case in self.cases

    def boxes_in(self, extent: Shape) -> list[Box]:
        """The boxes, clipped to the extent; those outside it are left out."""
        clipped = [Box(*pair).intersection(Box.whole(extent)) for pair in self.boxes]
        return [box for box in clipped if box.size]


class Folds(CheckedValue):
    """One fold of a cross-validation: fold ``fold`` of ``count`` is the test part, the next one the
    validation part, the others the training part. Units are whole cases, or, with ``block``, the blocks of
    that shape (voxels) of every case; ``seed`` shuffles them."""

    count: int = Field(ge=3)
    fold: int = Field(default=0, ge=0)
    block: tuple[int, ...] | None = None
    seed: int = 0

    def parts(self, units: Iterable[str]) -> dict[str, str]:
        """The part of every unit, by name. Folds differ in size by one unit at most, and a unit is in
        the test part of exactly one fold. The order is that of SHA-256 digests, so it is the same on every
        machine and version."""
        order = sorted(units, key=lambda u: hashlib.sha256(f"{self.seed}\0{u}".encode()).digest())
        role = {self.fold: "test", (self.fold + 1) % self.count: "validation"}
        return {unit: role.get(i % self.count, "training") for i, unit in enumerate(order)}

    @model_validator(mode="after")
    def _is_possible(self) -> Folds:
        if self.fold >= self.count:
            raise ValueError(f"there is no fold {self.fold} of {self.count}, they count from 0")
        if self.block is not None and min(self.block, default=0) < 1:
            raise ValueError(f"a block of {self.block} has no voxels")
        return self


class HoldOut(CheckedValue):
    """The held-out parts: ``validation`` selects the checkpoint, ``test`` is scored once.

    ``gap``: voxels between a held-out box and any training tile, per axis (one number: for all axes);
    None: the card's patch, so that held-out voxels are no neighbours of training voxels.
    ``folds``: replaces the two parts.
    """

    validation: HeldPart = HeldPart()
    test: HeldPart = HeldPart()
    gap: tuple[int, ...] | None = None
    folds: Folds | None = None

    def part_of(self, case: str, index: int) -> str | None:
        """``test`` or ``validation`` for a case that is held out whole, else None."""
        if self.test.has_case(case, index):
            return "test"
        return "validation" if self.validation.has_case(case, index) else None

    def boxes_in(self, extent: Shape) -> list[tuple[str, Box]]:
        """The boxes with the part of each, clipped to the extent."""
        return [(name, box) for name in PARTS[1:] for box in getattr(self, name).boxes_in(extent)]

    @model_validator(mode="before")
    @classmethod
    def _gap_as_tuple(cls, data: object) -> object:
        if isinstance(data, dict) and isinstance(data.get("gap"), int):
            data = {**data, "gap": (data["gap"],)}
        return data

    @model_validator(mode="after")
    def _apart(self) -> HoldOut:
        if both := sorted({*self.validation.cases} & {*self.test.cases}):
            raise ValueError(f"case {both[0]} is held out for validation and for test")
        boxes = [(name, box) for name in PARTS[1:] for box in getattr(self, name).boxes]
        for (part, a), (other, b) in combinations(boxes, 2):
            if Box(*a).touches(Box(*b)):
                raise ValueError(f"{part} box {a} touches {other} box {b}")
        if any(n < 0 for n in self.gap or ()):
            raise ValueError(f"a gap of {self.gap} voxels is less than none")
        if self.folds and (self.validation.asked or self.test.asked):
            raise ValueError("folds stand in place of validation and test: leave one of them out")
        return self
