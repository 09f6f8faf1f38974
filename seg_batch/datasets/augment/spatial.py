"""Spatial augmentation: where a crop lies in its tile, warps, right angles and mirroring."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seg_batch.config.recipe import Augment
from seg_batch.core.geometry import Shape
from seg_batch.datasets.augment.cutmix import Pair
from seg_batch.datasets.augment.deformation import needs_warp, random_warp, resample


@dataclass(frozen=True)
class CropPlace:
    """A crop of ``patch`` voxels from ``start`` on, which may lie outside the tile (mirrored there).

    ``voxel``: a voxel of the tile that has to stay in the crop, whatever it is warped by.
    """

    start: Shape
    patch: Shape
    voxel: Shape | None = None


def place_crop(
    tile: Shape,
    patch: Shape,
    how: Augment,
    rng: np.random.Generator,
    voxel: Shape | None = None,
) -> CropPlace:
    """A crop anywhere in the tile, evenly among those that contain ``voxel`` if one is given.

    It may leave the tile by ``how.crop_shift`` voxels.
    """
    start = []
    for axis, (n, p) in enumerate(zip(tile, patch, strict=True)):
        low, high = -how.crop_shift, n - p + how.crop_shift
        if voxel is not None:
            low, high = max(low, voxel[axis] - p + 1), min(high, voxel[axis])
        start.append(int(rng.integers(low, high + 1)))
    return CropPlace(tuple(start), patch, voxel)


def vary_space(
    image: np.ndarray,
    label: np.ndarray,
    at: CropPlace,
    how: Augment,
    rng: np.random.Generator,
    spacing: tuple[float, ...] | None = None,
) -> Pair:
    """The crop, warped (a share ``how.warped``), turned by right angles and mirrored."""
    if needs_warp(how) and rng.random() < how.warped:
        drawn = random_warp(at.patch, how, rng, spacing)
        placed = drawn.seen_from(at.start)
        if at.voxel is not None:
            placed = drawn.showing(at.start, at.voxel)
        image, label = resample(image, label, placed)
    else:
        image, label = crop(image, at), crop(label, at)
    if how.quarter_turns:
        image, label = turned(image, label, how.quarter_turns, int(rng.integers(4)))
    for axis in how.flip:
        if rng.random() < 0.5:
            image, label = flipped(image, label, axis)
    return image, label


def crop(values: np.ndarray, at: CropPlace) -> np.ndarray:
    """The voxels of a place; outside the tile they are mirrored about its outermost voxels."""
    where = list(zip(at.start, at.patch, values.shape, strict=False))
    if all(a >= 0 and a + p <= n for a, p, n in where):
        return values[tuple(slice(a, a + p) for a, p, _ in where)]
    indices = [_mirrored(np.arange(a, a + p), n) for a, p, n in where]
    return np.asarray(values[np.ix_(*indices)])


def turned(image: np.ndarray, label: np.ndarray, axes: tuple[int, int], times: int) -> Pair:
    """Turned by right angles in the plane of two axes, without blending."""
    return np.rot90(image, times, axes), np.rot90(label, times, axes)


def flipped(image: np.ndarray, label: np.ndarray, axis: int) -> Pair:
    """Mirrored along one spatial axis."""
    return np.flip(image, axis), np.flip(label, axis)


def _mirrored(index: np.ndarray, n: int) -> np.ndarray:
    """Indices reflected into ``0..n-1`` without repeating the outermost voxel."""
    period = max(2 * (n - 1), 1)
    folded = np.abs(index) % period
    return np.asarray(np.minimum(folded, period - folded))
