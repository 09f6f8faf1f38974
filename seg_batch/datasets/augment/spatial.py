"""Spatial augmentation: where a crop lies in its tile, warps, right angles, mirroring, and CutMix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seg_batch.config.recipe import Augment
from seg_batch.core.geometry import Box, Shape
from seg_batch.datasets.augment.deformation import needs_warp, random_warp, resample

type Pair = tuple[np.ndarray, np.ndarray]


def mixed_box(patch: Shape, rng: np.random.Generator) -> Box:
    """A box whose share of the patch is uniform in 0 to 1 before it is clipped to the patch, about
    a uniform centre, with the patch's proportions (Yun et al., ICCV 2019, equation 2)."""
    side = rng.random() ** (1 / len(patch))
    start, stop = [], []
    for n in patch:
        centre, half = rng.uniform(0, n), side * n / 2
        start.append(max(round(centre - half), 0))
        stop.append(min(round(centre + half), n))
    return Box(tuple(start), tuple(stop))


def cutmix(pair: Pair, other: Pair, box: Box) -> Pair:
    """``pair`` with the voxels of ``other`` in the box, image and label, ignored voxels included."""
    image, label = pair[0].copy(), pair[1].copy()
    image[box.slices()], label[box.slices()] = other[0][box.slices()], other[1][box.slices()]
    return image, label


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
