"""CutMix: a box of one sample is replaced by that of another, image and label alike."""

from __future__ import annotations

import numpy as np

from seg_batch.core.geometry import Box, Shape

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
