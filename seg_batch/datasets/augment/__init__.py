"""Patches varied for training: image and label move together, only the image changes its values.

Everything works on ``(*spatial, C)`` float32 images in normalised units and ``(*spatial)`` label
indices, in 2-D and 3-D, takes its randomness from one generator and leaves its inputs as they are.
Labels are never blended, so that ignored voxels stay ignored and nothing else becomes so.
"""

from __future__ import annotations

import numpy as np

from seg_batch.config.recipe import Augment
from seg_batch.core.geometry import Shape
from seg_batch.datasets.augment.cutmix import cutmix, mixed_box
from seg_batch.datasets.augment.deformation import Warp, displacement, rotation, warp
from seg_batch.datasets.augment.intensity import blurred, coarser, dropped, recoloured
from seg_batch.datasets.augment.spatial import Place, crop, flipped, moved, place, turned

__all__ = [
    "Place",
    "Warp",
    "blurred",
    "coarser",
    "crop",
    "cutmix",
    "displacement",
    "dropped",
    "flipped",
    "mixed_box",
    "moved",
    "place",
    "recoloured",
    "rotation",
    "turned",
    "vary",
    "warp",
]


def vary(
    image: np.ndarray, label: np.ndarray, patch: Shape, how: Augment, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A crop of ``patch`` voxels at a random place, moved in space, its image recoloured."""
    image, label = moved(image, label, place(label.shape, patch, how, rng), how, rng)
    return recoloured(image, how, rng), label
