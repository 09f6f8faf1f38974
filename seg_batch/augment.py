"""Patches varied for training: image and label move together, only the image changes its values.

Everything works on ``(*spatial, C)`` float32 images in normalised units and ``(*spatial)`` label
indices, in 2-D and 3-D, and takes its randomness from one generator. Labels are never blended.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import affine_transform, gaussian_filter

from seg_batch.geometry import Shape
from seg_batch.recipe import Augment

Pair = tuple[np.ndarray, np.ndarray]


def vary(
    image: np.ndarray, label: np.ndarray, patch: Shape, how: Augment, rng: np.random.Generator
) -> Pair:
    """A crop of ``patch`` voxels at a random place, warped, turned, mirrored, and its image
    recoloured. The inputs are left as they are."""
    bent = (how.rotate_degrees > 0 or how.scale > 0) and rng.random() < how.warped
    if bent:
        image, label = warped(image, label, patch, how.rotate_degrees, how.scale, rng)
    else:
        image, label = cropped(image, label, patch, rng)
    if how.quarter_turns:
        image, label = turned(image, label, how.quarter_turns, int(rng.integers(4)))
    for axis in how.flip:
        if rng.random() < 0.5:
            image, label = np.flip(image, axis), np.flip(label, axis)
    return recoloured(image, how, rng), np.ascontiguousarray(label)


def cropped(image: np.ndarray, label: np.ndarray, patch: Shape, rng: np.random.Generator) -> Pair:
    """The same box of both, anywhere inside."""
    starts = [int(rng.integers(n - p + 1)) for n, p in zip(label.shape, patch, strict=True)]
    where = tuple(slice(a, a + p) for a, p in zip(starts, patch, strict=True))
    return image[where], label[where]


def turned(image: np.ndarray, label: np.ndarray, axes: tuple[int, int], times: int) -> Pair:
    """Turned by right angles in the plane of two axes, without blending."""
    return np.rot90(image, times, axes), np.rot90(label, times, axes)


def warped(
    image: np.ndarray,
    label: np.ndarray,
    patch: Shape,
    degrees: float,
    scale: float,
    rng: np.random.Generator,
) -> Pair:
    """A box of ``patch`` voxels seen turned and scaled about its centre, which is placed so that
    the unturned box lies inside; past the border the pair is mirrored.

    Linear for the image, nearest for the label, one matrix for both.
    """
    starts = [rng.uniform(0, n - p) for n, p in zip(label.shape, patch, strict=True)]
    middle = (np.array(patch) - 1) / 2
    matrix = rotation(len(patch), degrees, rng) * rng.uniform(1 - scale, 1 + scale, len(patch))
    offset = np.array(starts) + middle - matrix @ middle
    planes = [
        affine_transform(image[..., c], matrix, offset, patch, order=1, mode="mirror")
        for c in range(image.shape[-1])
    ]
    moved = affine_transform(label, matrix, offset, patch, order=0, mode="mirror")
    return np.stack(planes, -1), moved


def rotation(rank: int, degrees: float, rng: np.random.Generator) -> np.ndarray:
    """A rotation by up to ``degrees`` in every plane of two axes, ``(rank, rank)``."""
    matrix = np.eye(rank)
    for a in range(rank):
        for b in range(a + 1, rank):
            angle = np.deg2rad(rng.uniform(-degrees, degrees))
            plane = np.eye(rank)
            plane[a, a] = plane[b, b] = np.cos(angle)
            plane[a, b], plane[b, a] = -np.sin(angle), np.sin(angle)
            matrix = matrix @ plane
    return matrix


def recoloured(image: np.ndarray, how: Augment, rng: np.random.Generator) -> np.ndarray:
    """Contrast and brightness (together and per channel), gamma, blur and noise; float32."""
    channels = image.shape[-1]
    out: np.ndarray = image.astype(np.float32)
    if how.blur and rng.random() < 0.3:
        sigma = (*(rng.uniform(0, how.blur),) * (image.ndim - 1), 0)
        out = gaussian_filter(out, sigma)
    if how.gamma and rng.random() < 0.3:
        power = rng.uniform(1 - how.gamma, 1 / (1 - how.gamma))
        out = np.sign(out) * np.abs(out) ** power
    gain = np.asarray(1 + how.gain * rng.normal(size=channels))
    shift = np.asarray(how.shift * (rng.normal() + 0.5 * rng.normal(size=channels)))
    out = out * gain.astype(np.float32) + shift.astype(np.float32)
    if how.noise:
        amount = how.noise * rng.random()
        out = out + amount * rng.standard_normal(out.shape, np.float32)
    return np.ascontiguousarray(out, np.float32)
