"""What each voxel of a line along one axis depends on; without Keras."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FIRST, LAST = 768, 24576  # shortest and longest line that is tried; 2 ** 8 * 3 divides both
NOTHING = np.iinfo(np.int64).max  # the first of no input voxels; its negative is the last


@dataclass(frozen=True)
class Line:
    """First and last input voxel that each voxel of a tensor depends on, along one axis."""

    first: np.ndarray
    last: np.ndarray

    def taken(self, places: np.ndarray) -> "Line":
        """The line of the voxels at `places`; places outside depend on nothing (zero padding)."""
        inside = (places >= 0) & (places < len(self.first))
        at = np.where(inside, places, 0)
        first = np.where(inside, self.first[at], NOTHING)
        return Line(first, np.where(inside, self.last[at], -NOTHING))

    @property
    def width(self) -> int:
        """The most input voxels between first and last, both included."""
        seen = self.first <= self.last
        return int((self.last - self.first)[seen].max(initial=-1)) + 1


class Unknown(Exception):  # noqa: N818  (no fault: an answer)
    """A layer whose inputs per output voxel are unknown."""


def merged(lines: Sequence[Line]) -> Line:
    """The wider of all, voxel by voxel."""
    if len({len(line.first) for line in lines}) != 1:
        raise Unknown
    first = np.min([line.first for line in lines], axis=0)
    return Line(first, np.max([line.last for line in lines], axis=0))
