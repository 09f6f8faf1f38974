"""How much of a class was found against how much there is: volumes in mL, areas in ha.

``error = |P| - |T|`` in voxels, times what one voxel measures: positive where too much was found.
A class that neither truth nor prediction has is undefined (NaN), as in all other scores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from seg_batch.core.georef import M2_PER_HA, MM3_PER_ML


@dataclass(frozen=True)
class Unit:
    """What one voxel measures: ``per_voxel`` of ``name`` (``mL``, ``ha``, ``voxels``)."""

    name: str = "voxels"
    per_voxel: float = 1.0


def unit_of(spacing: tuple[float, ...] | None) -> Unit:
    """mL for volumes with a spacing in mm, ha for scenes with one in m, else voxels."""
    if spacing is None or len(spacing) not in (2, 3):
        return Unit()
    size = math.prod(spacing)
    if len(spacing) == 3:
        return Unit("mL", size / MM3_PER_ML)
    return Unit("ha", size / M2_PER_HA)


def size_errors(matrix: np.ndarray, unit: Unit | None = None) -> np.ndarray:
    """Signed error per class (K,) of a confusion matrix (K, K), in ``unit`` (default: voxels)."""
    true, predicted = matrix.sum(-1), matrix.sum(-2)
    error = (predicted - true) * (unit or Unit()).per_voxel
    return np.where(true + predicted > 0, error, np.nan)
