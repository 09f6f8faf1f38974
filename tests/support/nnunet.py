"""What nnU-Net does to an image before and after its network, plainly, with NumPy, SciPy and scikit-image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.transform import resize

Sizes = tuple[float, ...]


@dataclass(frozen=True)
class Channel:
    """``scheme``: ``ct``, ``zscore``, ``masked``, ``rescale`` or ``none``; the numbers are those of ``ct``."""

    scheme: str
    mean: float = 0.0
    std: float = 1.0
    low: float = 0.0
    high: float = 0.0


def box_of(data: np.ndarray) -> tuple[slice, ...]:
    """Of ``(C, z, y, x)``, around what is not 0."""
    places = np.argwhere((data != 0).any(0))
    return tuple(map(slice, places.min(0), places.max(0) + 1))


def normalised(data: np.ndarray, channels: tuple[Channel, ...]) -> np.ndarray:
    """float32; the mask is what is not 0, its holes filled."""
    out = data.astype(np.float32)
    mask = ndimage.binary_fill_holes((data != 0).any(0))
    for image, channel in zip(out, channels, strict=True):
        if channel.scheme == "ct":
            image[:] = (image.clip(channel.low, channel.high) - channel.mean) / channel.std
        elif channel.scheme == "zscore":
            image[:] = (image - image.mean(dtype=float)) / max(image.std(dtype=float), 1e-8)
        elif channel.scheme == "masked":
            inside = image[mask]
            image[mask] = (inside - inside.mean(dtype=float)) / max(inside.std(dtype=float), 1e-8)
        elif channel.scheme == "rescale":
            image[:] = (image - image.min()) / max(float(image.max() - image.min()), 1e-8)
    return out


def separate_axis(current: Sizes, wanted: Sizes) -> int | None:
    """The axis whose slices are resampled each by itself."""
    for sizes in (current, wanted):
        if max(sizes) / min(sizes) > 3:
            longest = [k for k, size in enumerate(sizes) if size == max(sizes)]
            return longest[0] if len(longest) == 1 else None
    return None


def resampled(
    data: np.ndarray, shape: tuple[int, ...], current: Sizes, wanted: Sizes, order: int
) -> np.ndarray:
    """``(C, z, y, x)`` of another shape."""
    if data.shape[1:] == shape:
        return data
    axis = separate_axis(current, wanted)
    whole = data.astype(float)
    if axis is None:
        return np.stack([_resized(image, shape, order) for image in whole])
    plane = tuple(n for k, n in enumerate(shape) if k != axis)
    out = []
    for image in whole:
        slices = np.stack([_resized(s, plane, order) for s in np.moveaxis(image, axis, 0)])
        centres = (np.arange(shape[axis]) + 0.5) * len(slices) / shape[axis] - 0.5
        nearest = np.clip(np.floor(centres + 0.5), 0, len(slices) - 1).astype(int)
        out.append(np.moveaxis(slices[nearest], 0, axis))
    return np.stack(out)


def _resized(image: np.ndarray, shape: tuple[int, ...], order: int) -> np.ndarray:
    return resize(image, shape, order, mode="edge", anti_aliasing=False)


@dataclass(frozen=True)
class Preprocessed:
    """``data``: ``(C, z, y, x)`` as the network sees it; ``box``: of the image, in transposed axes."""

    data: np.ndarray
    box: tuple[slice, ...]
    current: Sizes
    wanted: Sizes
    transpose: tuple[int, ...]
    extent: tuple[int, ...]

    def exported(self, scores: np.ndarray) -> np.ndarray:
        """Labels of the whole image, in its own axes, of scores ``(classes, z, y, x)``."""
        shape = tuple(s.stop - s.start for s in self.box)
        back = resampled(scores, shape, self.wanted, self.current, 1)
        labels = np.zeros(self.extent, np.uint8)
        labels[self.box] = back.argmax(0)
        return labels.transpose(np.argsort(self.transpose))


def preprocess(
    data: np.ndarray,
    spacing: Sizes,
    wanted: Sizes,
    channels: tuple[Channel, ...],
    transpose: tuple[int, ...] = (0, 1, 2),
) -> Preprocessed:
    """``data`` ``(C, z, y, x)`` as a reader gives it, ``spacing`` in its axes; ``wanted`` in the transposed ones, of 2-D
    plans without the first."""
    data = data.transpose(0, *(k + 1 for k in transpose))
    current = tuple(spacing[k] for k in transpose)
    wanted = (*current[: 3 - len(wanted)], *wanted)
    box, extent = box_of(data), data.shape[1:]
    data = data[:, *box]
    sides = zip(data.shape[1:], current, wanted, strict=True)
    shape = tuple(round(a / b * n) for n, a, b in sides)
    seen = resampled(normalised(data, channels), shape, current, wanted, 3)
    return Preprocessed(seen, box, current, wanted, transpose, extent)
