"""Thick slices: an image as a scanner with longer voxels along one axis would show it, in normalised units.

The slices are brought back to the grid of the patch by the rules by which a model sees such a file. No label changes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates

from seg_batch.config.card_parts.resampling import AS_NNUNET, Resampling, Rule
from seg_batch.datasets.augment.intensity import SOMETIMES
from seg_batch.io.sources.views.model_grid import thick_axis

LONGER = 1.5  # the least ratio of an axis to the next one at which it is the one with thick slices
_ORDER: dict[Rule, int] = {"nearest": 0, "area": 1, "linear": 1, "cubic": 3}


@dataclass(frozen=True)
class PatchGrid:
    """The grid of a patch: ``spacing``, in any unit, per axis, and the ``rules`` by which files come to it."""

    spacing: tuple[float, ...]
    rules: Resampling = AS_NNUNET

    @property
    def thick_axis(self) -> int | None:
        """The axis with thick slices; None where no axis is coarser than the others by ``LONGER``."""
        *_, second, first = sorted(self.spacing)
        return self.spacing.index(first) if first >= LONGER * second else None

    def rule(self, axis: int, factor: float) -> Rule:
        """The rule for a volume whose voxels are longer along an axis by a ``factor``, else those of the grid; in the
        plane of slices none are thick."""
        file = tuple(side * factor if k == axis else side for k, side in enumerate(self.spacing))
        grids = (file, self.spacing) if len(file) == 3 else ()
        is_thick = thick_axis(grids, self.rules.thick_ratio) == axis
        return self.rules.thick if is_thick else self.rules.up


def vary_slices(
    image: np.ndarray, thickest: float, rng: np.random.Generator, grid: PatchGrid
) -> np.ndarray:
    """Thick slices of up to ``thickest`` voxels, ``SOMETIMES``: along the axis of ``grid`` that has such, else along any.

    ``image``: ``(*spatial, C)`` float32. 1 changes nothing, and draws no random number.
    """
    if thickest <= 1 or rng.random() >= SOMETIMES:
        return image
    known, random = grid.thick_axis, int(rng.integers(image.ndim - 1))
    axis, factor = random if known is None else known, rng.uniform(1, thickest)
    return thick_slices(image, axis, factor, rng.random(), grid.rule(axis, factor))


def thick_slices(
    image: np.ndarray, axis: int, factor: float, phase: float, rule: Rule
) -> np.ndarray:
    """``image`` averaged along an axis over slices of ``factor`` voxels, interpolated to its grid by ``rule``.

    ``phase``: the share of the first slice that lies before the patch.
    """
    n = image.shape[axis]
    weights = _fine(n, factor, phase, rule) @ _coarse(n, factor, phase)
    lines = np.moveaxis(image, axis, -1)
    # Many small products: a large one would wake BLAS threads.
    out = lines.reshape(lines.shape[0], -1, n) @ weights.T.astype(np.float32)
    return np.moveaxis(out.reshape(lines.shape), -1, axis)


def _coarse(n: int, factor: float, phase: float) -> np.ndarray:
    """``(slices, n)``: the share of each voxel in each slice, as weights of a mean."""
    edges = (np.arange(_slices(n, factor, phase) + 1) - phase) * factor
    low, high = edges[:-1, None], edges[1:, None]
    shares = np.minimum(high, np.arange(n) + 1) - np.maximum(low, np.arange(n))
    shares = np.maximum(shares, 0)
    return np.asarray(shares / shares.sum(1, keepdims=True))


def _fine(n: int, factor: float, phase: float, rule: Rule) -> np.ndarray:
    """``(n, slices)``: the weights of the slices in each voxel."""
    slices = _slices(n, factor, phase)
    places = np.clip((np.arange(n) + 0.5) / factor + phase - 0.5, 0, slices - 1)
    where = np.meshgrid(places, np.arange(slices), indexing="ij")
    return np.asarray(map_coordinates(np.eye(slices), where, order=_ORDER[rule], mode="nearest"))


def _slices(n: int, factor: float, phase: float) -> int:
    """How many slices a patch of ``n`` voxels touches; a last one of next to nothing is none."""
    return max(1, math.ceil(n / factor + phase - 1e-6))
