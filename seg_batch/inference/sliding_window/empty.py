"""Which voxels no model decides, and what they get instead; tiles of such voxels alone are not predicted (law 8)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from seg_batch.core.geometry import Box, Shape, Tile
from seg_batch.core.normalise import Pixels
from seg_batch.io.vectors.area import Area

DECIDED, LOW, WITHOUT = 0, 1, 2  # states of voxels, as ``core.kernels.sums`` has them
_ROWS = 16
ROWS_VOXELS = 1 << 18  # values of all channels that are examined together


@dataclass(frozen=True)
class EmptyRule:
    """Which voxels are empty, and their labels: ``any`` or ``all`` channels ``missing`` -> ``label``; first channel at
    most ``below`` (physical units) -> ``below_label``. Tiles of empty voxels alone are not predicted.
    Voxels that could not be read have no valid channel and get ``unreadable_label`` (None: ``label``). ``within``: the
    voxels of the product that the model sees; others get ``below_label`` too. None: all. ``area``: the pixels that are wanted;
    others count as without data, and tiles that have no say in one are not predicted either. None: all."""

    label: int
    below: float | None = None
    below_label: int = 0
    unreadable_label: int | None = None
    missing: str = "all"
    within: Box | None = None
    area: Area | None = None

    def seen_in(self, box: Box | None, background: int) -> EmptyRule:
        """The same for a model that sees a box of the product alone, outside of which is the label ``background``."""
        return self if box is None else replace(self, within=box, below_label=background)

    @property
    def unreadable(self) -> int:
        return self.label if self.unreadable_label is None else self.unreadable_label

    @property
    def others(self) -> tuple[int, int, int]:
        """The label of each state; that of ``DECIDED`` is the model's."""
        return 0, self.below_label, self.label


class Emptiness:
    """The states of the voxels of some pixels, made once for all tiles. ``states``: uint8; None: ``DECIDED`` everywhere."""

    def __init__(self, pixels: Pixels, box: Box, empty: EmptyRule) -> None:
        """``box``: where the pixels lie."""
        self.origin, self.rule = box.start, empty
        once, shape = pixels.once(), pixels.values.shape[:-1]
        nothing = once.valid is not None and not once.valid.any()
        if empty.within is not None and not empty.within.contains(box):
            self.states: np.ndarray | None = _outside(once, box, empty)
            return
        if empty.area is not None:
            self.states = _in_area(once, box, shape, empty)
            return
        states = np.uint8(WITHOUT) if nothing else _states(once, empty)
        self.states = None if states is None else np.broadcast_to(states, shape)

    def of(self, box: Box) -> np.ndarray | None:
        """The states in a box, contiguous."""
        if self.states is None:
            return None
        return np.ascontiguousarray(self.states[box.slices(self.origin)])

    def once(self, box: Box) -> np.ndarray:
        """The states in a box, without the repetition of constant ones, where there are any states."""
        assert self.states is not None
        return _once(self.states[box.slices(self.origin)])

    def skipping(self, window: Box, block: Box | None = None) -> Callable[[Tile], bool]:
        """Which tiles are empty; ``window``: that of all tiles. Of a block in an area those, too, that have a say in no voxel
        of it that is wanted."""
        if self.rule.area is not None and block is not None:
            return lambda tile: self.fills(tile.trusted.intersection(block))
        return lambda tile: self.fills(tile.box.intersection(window))

    def fills(self, box: Box) -> bool:
        """Whether the model decides no voxel of a box."""
        if self.states is None:
            return False
        part = self.once(box)
        rows = range(0, len(part), _ROWS)  # the first ones of most tiles say it already
        return all(part[row : row + _ROWS].all() for row in rows)


def _once(array: np.ndarray) -> np.ndarray:
    """Of an axis along which all are views of one, the first."""
    return array[tuple(slice(0, 1) if step == 0 else slice(None) for step in array.strides)]


def _outside(pixels: Pixels, box: Box, empty: EmptyRule) -> np.ndarray:
    """The states in a box that reaches past what the model sees."""
    assert empty.within is not None
    states, inner = np.full(box.shape, LOW, np.uint8), box.intersection(empty.within)
    if inner.size:
        states[inner.slices(box.start)] = DECIDED
    if pixels.valid is not None:
        np.copyto(states, WITHOUT, where=~pixels.with_data(empty.missing))
    return states


def _in_area(pixels: Pixels, box: Box, shape: Shape, empty: EmptyRule) -> np.ndarray:
    """The states in a box of a raster of which only an area is wanted."""
    assert empty.area is not None
    mask, found = empty.area.mask(box), _states(pixels, empty)
    if not mask.any():
        return np.broadcast_to(np.uint8(WITHOUT), shape)
    states = np.zeros(shape, np.uint8) if found is None else np.broadcast_to(found, shape).copy()
    np.copyto(states, WITHOUT, where=~mask)
    return states


def _states(pixels: Pixels, empty: EmptyRule) -> np.ndarray | None:
    """A few rows at a time, so that what is made on the way stays in the cache."""
    if pixels.valid is None and empty.below is None:
        return None
    states = np.zeros(pixels.values.shape[:-1], np.uint8)
    rows = max(1, ROWS_VOXELS // max(1, math.prod(states.shape[1:])))
    for first in range(0, len(states), rows):
        part, out = pixels[first : first + rows], states[first : first + rows]
        if empty.below is not None:
            np.copyto(out, LOW, where=low_values(part, empty))
        if part.valid is not None:
            np.copyto(out, WITHOUT, where=~part.with_data(empty.missing))
    return states


def low_values(pixels: Pixels, empty: EmptyRule) -> np.ndarray:
    """bool ``shape``: first channel valid and at most ``empty.below``; all False without a rule."""
    if empty.below is None:
        return np.zeros(pixels.values.shape[:-1], bool)
    physical = pixels[..., :1].physical(np.float64)[..., 0]
    with np.errstate(invalid="ignore"):
        low = physical <= empty.below
    return low if pixels.valid is None else low & pixels.valid[..., 0]
