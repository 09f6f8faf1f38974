"""Tapers: the weight of each tile at each of its voxels. All tapers sum to one everywhere.

A grid is a product of per-axis starts, so a tile's taper is an outer product of per-axis rows.
Each row is normalised along its own axis beforehand::

    row_i(v) = w_i(v - start_i) / sum_j w_j(v - start_j)        sum_i row_i(v) = 1

so there is no count array, no later division, no second pass and no NaN (law 1).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, reduce

import numpy as np

from seg_batch.core.geometry import Axis, Grid, Tile


def _gaussian(u: np.ndarray) -> np.ndarray:
    """Standard deviation of one eighth of the patch, as nnU-Net uses (Isensee et al. 2021), around its middle."""
    return np.exp(-0.5 * ((u - 0.5) * 8) ** 2)


def _nnunet(u: np.ndarray) -> np.ndarray:
    """The same around the middle voxel ``n // 2``, as nnU-Net has it: of even patches half a voxel after the middle."""
    n = len(u)
    return np.exp(-0.5 * ((np.arange(n) - n // 2) * (8 / n)) ** 2)


# Of the middles of a patch's voxels, in shares of its length.
PROFILES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "hann": lambda u: np.sin(np.pi * u) ** 2,
    "gaussian": _gaussian,
    "nnunet": _nnunet,
    "linear": lambda u: 1 - np.abs(2 * u - 1),
    "constant": np.ones_like,
}
TAPERS = (*PROFILES, "crop")


def _crop_rows(axis: Axis, length: int) -> list[np.ndarray]:
    """Each voxel belongs to one tile: the seam lies in the middle of each overlap."""
    owner = np.zeros(axis.extent, np.int64)
    for i in range(1, len(axis.starts)):
        seam = (axis.starts[i] + axis.starts[i - 1] + axis.patch) // 2
        owner[seam:] = i
    return [(owner[s : s + length] == i).astype(np.float32) for i, s in enumerate(axis.firsts)]


def rows(axis: Axis, name: str) -> list[np.ndarray]:
    """The normalised row of each tile of ``axis`` inside the extent: float32, at most as long as the patch."""
    if name == "crop":
        return _crop_rows(axis, min(axis.patch, axis.extent))
    profile = PROFILES[name]((np.arange(axis.patch) + 0.5) / axis.patch)
    raw, total = [], np.zeros(axis.extent)
    for i, (start, inside) in enumerate(zip(axis.starts, axis.firsts, strict=True)):
        first, stop = axis.trusted(i)
        length = min(axis.patch, axis.extent - inside)
        row = np.zeros(length)
        row[first - inside : stop - inside] = profile[first - start : stop - start]
        raw.append(row)
        total[inside : inside + length] += row
    return [
        (row / total[s : s + len(row)]).astype(np.float32)
        for row, s in zip(raw, axis.firsts, strict=True)
    ]


class Taper:
    """The tapers of all tiles of a grid. ``weights(tile)`` has the tile's shape inside the extent.

    Tiles away from the border share their rows, so only a few arrays are made.
    """

    def __init__(self, grid: Grid, name: str = "hann") -> None:
        if name not in TAPERS:
            raise ValueError(f"taper {name!r} is not one of {', '.join(TAPERS)}")
        self.grid, self.name = grid, name
        self._weights: dict[tuple[bytes, ...], np.ndarray] = {}

    @cached_property
    def rows(self) -> list[list[np.ndarray]]:
        return [rows(axis, self.name) for axis in self.grid.axes]

    def weights(self, tile: Tile) -> np.ndarray:
        """``w(z, y, x) = row_z(z) row_y(y) row_x(x)``, float32, shared between calls: read only."""
        parts = [axis_rows[i] for axis_rows, i in zip(self.rows, tile.index, strict=True)]
        key = tuple(part.tobytes() for part in parts)
        if key not in self._weights:
            self._weights[key] = reduce(np.multiply.outer, parts)
            self._weights[key].flags.writeable = False
        return self._weights[key]
