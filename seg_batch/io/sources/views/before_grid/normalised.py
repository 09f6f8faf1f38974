"""Values that are normalised before they are resampled, as nnU-Net has it.

Weights of a resampling sum to 1, so the order makes no difference to a mean and a deviation; it does to a clip, and to
voxels that stay 0. Cubic weights overshoot: values are held in the range that they had before, of the image, or of
their slice where slices are resampled each by itself (as ``skimage.transform.resize`` does).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seg_batch.core.geometry import Box
from seg_batch.core.normalise import Normaliser, Pixels
from seg_batch.io.sources.iterate import piece_boxes
from seg_batch.io.sources.protocol import Source
from seg_batch.io.sources.views.model_grid import ModelGrid


@dataclass(frozen=True, eq=False)
class Normalised:
    """``limits``: float32 ``(slices, channels, 2)``, least and greatest, of one slice where all share them."""

    normaliser: Normaliser
    limits: np.ndarray | None

    @property
    def rest(self) -> Normaliser:
        """What is left to be done: nothing but 0 for what is missing."""
        if self.normaliser.identity:
            return self.normaliser
        channels = len(self.normaliser.mean)
        return Normaliser((0.0,) * channels, (1.0,) * channels)

    def before(self, pixels: Pixels) -> Pixels:
        return Pixels(self.normaliser(pixels), pixels.valid)

    def limit(
        self, values: np.ndarray, valid: np.ndarray | None, grid: ModelGrid, box: Box
    ) -> None:
        """Hold the values of a box of the grid in the range that they came from; what is not valid stays 0."""
        if self.limits is None:
            return
        limits, axis = self.limits, grid.slices
        if len(limits) > 1 and axis is not None:
            rows = grid.values.axes[axis]
            limits = limits[[rows.band(i)[0] for i in range(box.start[axis], box.stop[axis])]]
        shape = [1] * (values.ndim - 1)
        shape[axis or 0] = len(limits)
        low, high = (limits[..., end].reshape(*shape, -1) for end in (0, 1))
        np.clip(values, low, high, out=values)
        if valid is not None:
            values[~valid] = 0


def limits_of(source: Source, grid: ModelGrid, normaliser: Normaliser) -> np.ndarray | None:
    """The range of normalised values per slice and channel, from one pass; None where no weight is negative, so that
    values stay in theirs by themselves."""
    axes = zip(grid.rules, grid.source, grid.target, strict=True)
    if not any(rule == "cubic" and n != m for rule, n, m in axes):
        return None
    axis, channels = grid.slices, len(source.info.channels)
    count = 1 if axis is None else source.info.extent[axis]
    limits = np.empty((count, channels, 2), np.float32)
    limits[..., 0], limits[..., 1] = np.inf, -np.inf
    for box in piece_boxes(source.info):
        pixels = source.read(box)
        values = normaliser(pixels).astype(np.float32, copy=False)
        others = tuple(k for k in range(len(box.shape)) if k != axis)
        rows = slice(None) if axis is None else slice(box.start[axis], box.stop[axis])
        valid = True if pixels.valid is None else pixels.valid
        low = values.min(others, where=valid, initial=np.inf)
        high = values.max(others, where=valid, initial=-np.inf)
        part = limits[rows]
        np.minimum(part[..., 0], low, out=part[..., 0])
        np.maximum(part[..., 1], high, out=part[..., 1])
    limits[limits[..., 0] > limits[..., 1]] = 0  # nothing is valid
    return limits
