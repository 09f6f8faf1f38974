"""Pixels of one slice, as stored."""

from __future__ import annotations

import numpy as np
from pydicom.pixels import pixel_array

from seg_batch.io.dicom.series import Slice
from seg_batch.io.dicom.tree import Tree


def stored_pixels(tree: Tree, where: Slice) -> np.ndarray:
    """``(rows, columns)``, in the stored integers; ``OSError`` or ``ValueError`` where the file can't be read."""
    with tree.open(where.file) as file:
        pixels: np.ndarray = pixel_array(file, raw=True, index=where.frame)
    return pixels
