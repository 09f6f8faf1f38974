"""Intensity augmentation: changes to the values of an image, in normalised units; no label changes."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

from seg_batch.config.recipe import Augment

SOMETIMES = 0.3  # probability of a step that loses information


def vary_intensity(image: np.ndarray, how: Augment, rng: np.random.Generator) -> np.ndarray:
    """Blur, coarser grid and gamma ``sign(v) |v|**power`` (each ``SOMETIMES``), contrast, brightness,
    noise, and a band dropped last, because a missing band is constant. Contiguous float32, a copy."""
    out = np.array(image, np.float32, order="C")
    if how.blur and rng.random() < SOMETIMES:
        out = blurred(out, rng.uniform(0, how.blur))
    if how.low_resolution > 1 and rng.random() < SOMETIMES:
        out = coarser(out, rng.uniform(1, how.low_resolution))
    if how.gamma and rng.random() < SOMETIMES:
        power = np.float32(rng.uniform(1 - how.gamma, 1 / (1 - how.gamma)))
        out = np.copysign(np.abs(out) ** power, out)
    if how.gain or how.shift:
        channels = out.shape[-1]
        out *= np.asarray(1 + how.gain * rng.normal(size=channels), np.float32)
        # Brightness varies for all channels, and half as much again for each.
        shift = how.shift * (rng.normal() + 0.5 * rng.normal(size=channels))
        out += np.asarray(shift, np.float32)
    if how.noise:
        amount = np.float32(how.noise * rng.random())
        out += amount * rng.standard_normal(out.shape, np.float32)
    if how.drop_band and rng.random() < how.drop_band:
        out = dropped(out, int(rng.integers(out.shape[-1])))
    return out


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """Each channel under a Gaussian of ``sigma`` voxels."""
    return np.asarray(gaussian_filter(image, (*(sigma,) * (image.ndim - 1), 0), truncate=3))


def coarser(image: np.ndarray, factor: float) -> np.ndarray:
    """As a sensor with ``factor`` times larger voxels would show it: linear down and up again."""
    fine = image.shape[:-1]
    coarse = [max(2, round(n / factor)) for n in fine]
    out = np.empty_like(image)
    for c in range(image.shape[-1]):
        small = _to(np.ascontiguousarray(image[..., c]), coarse)
        out[..., c] = _to(small, fine)
    return out


def dropped(image: np.ndarray, channel: int) -> np.ndarray:
    """One channel at its mean over the patch; the only channel of an image is kept."""
    if image.shape[-1] > 1:
        image = image.copy()
        image[..., channel] = image[..., channel].mean()
    return image


def _to(values: np.ndarray, shape: tuple[int, ...] | list[int]) -> np.ndarray:
    factors = [b / a for a, b in zip(values.shape, shape, strict=True)]
    return np.asarray(zoom(values, factors, order=1, mode="nearest", grid_mode=True))
