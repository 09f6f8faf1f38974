"""How much of a class was found against how much there is: volumes in mL, areas in ha.

``error = |P| - |T|`` in voxels, times what one voxel measures: positive where too much was found. Where pixels of one
scene differ in area, each cell of its case has its own (see ``PixelAreas``).
A class that neither truth nor prediction has is undefined (NaN), as in all other scores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from seg_batch.core.georef import M2_PER_HA, MM3_PER_ML


@dataclass(frozen=True)
class Unit:
    """What one voxel measures: ``per_voxel`` of ``name`` (``mL``, ``ha``, ``voxels``), in each cell of a case
    where that differs."""

    name: str = "voxels"
    per_voxel: float | tuple[float, ...] = 1.0


def unit_of(spacing: tuple[float, ...] | None, hectares: tuple[float, ...] | None = None) -> Unit:
    """mL for volumes with a spacing in mm, ha for scenes with one in m or with ``hectares`` of a pixel of each
    cell, else voxels."""
    if hectares is not None:
        return Unit("ha", hectares)
    if spacing is None or len(spacing) not in (2, 3):
        return Unit()
    size = math.prod(spacing)
    if len(spacing) == 3:
        return Unit("mL", size / MM3_PER_ML)
    return Unit("ha", size / M2_PER_HA)


def size_errors(cells: np.ndarray, unit: Unit | None = None) -> np.ndarray:
    """Signed error per class (K,) of the confusion matrices of a case's cells (C, K, K), or of one (K, K), in
    ``unit`` (default: voxels)."""
    per_voxel = (unit or Unit()).per_voxel
    if cells.ndim == 3 and not isinstance(per_voxel, tuple):
        cells = cells.sum(0)
    true, predicted = cells.sum(-1), cells.sum(-2)
    error, there = predicted - true, true + predicted
    if isinstance(per_voxel, tuple):
        error, there = np.array(per_voxel) @ error, there.sum(0)
    else:
        error = error * per_voxel
    return np.where(there > 0, error, np.nan)
