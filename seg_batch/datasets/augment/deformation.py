"""Rotation, scale and elastic deformation as one map of coordinates: voxels are interpolated once.

An output voxel ``x`` shows the place ``c + M (x - m) + d(x)`` of the tile: ``m`` the middle of the
crop, ``c`` where that lies in the tile, ``M`` rotation and scale, ``d`` a smooth random displacement.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import map_coordinates

from seg_batch.config.recipe import Augment
from seg_batch.core.geometry import Shape


@dataclass(frozen=True)
class Warp:
    """The map from crop to tile. ``matrix`` ``(rank, rank)``, ``bend`` ``(rank, *patch)`` voxels or
    None, ``middle``: where the middle of the crop lies in the tile."""

    patch: Shape
    matrix: np.ndarray
    bend: np.ndarray | None = None
    middle: tuple[float, ...] = ()

    def seen_from(self, start: Shape) -> Warp:
        """This warp of the crop that begins at ``start``."""
        return replace(self, middle=tuple(np.add(start, self._half)))

    def showing(self, start: Shape, voxel: Shape) -> Warp:
        """As :meth:`seen_from`, then shifted as little as it takes for one voxel of the crop to lie
        exactly on ``voxel`` of the tile: the one nearest to where it goes."""
        placed = self.seen_from(start)
        exact = np.linalg.solve(self.matrix, np.subtract(voxel, placed.middle)) + self._half
        nearest = tuple(np.clip(np.rint(exact), 0, np.subtract(self.patch, 1)).astype(int))
        shift = np.subtract(voxel, placed.of(nearest))
        return replace(placed, middle=tuple(np.add(placed.middle, shift)))

    def of(self, voxel: Shape) -> np.ndarray:
        """Where one voxel of the crop lies in the tile, ``(rank,)``."""
        place: np.ndarray = self.middle + self.matrix @ np.subtract(voxel, self._half)
        return place if self.bend is None else place + [part[voxel] for part in self.bend]

    def coordinates(self) -> np.ndarray:
        """Where every voxel lies in the tile, ``(rank, *patch)`` float32."""
        rank = len(self.patch)
        offset = self.middle - self.matrix @ self._half
        out = np.zeros((rank, *self.patch), np.float32) if self.bend is None else self.bend.copy()
        for row in range(rank):
            for axis, side in enumerate(self.patch):
                line = self.matrix[row, axis] * np.arange(side) + (offset[row] if axis == 0 else 0)
                out[row] += line.astype(np.float32).reshape(-1, *(1,) * (rank - 1 - axis))
        return out

    @property
    def _half(self) -> np.ndarray:
        return np.subtract(self.patch, 1) / 2


def needs_warp(how: Augment) -> bool:
    """Whether these settings need a warp."""
    return how.rotate_degrees > 0 or how.scale > 0 or how.elastic > 0


def random_warp(
    patch: Shape,
    how: Augment,
    rng: np.random.Generator,
    spacing: tuple[float, ...] | None = None,
) -> Warp:
    """A random warp. With a ``spacing`` (mm per axis) it rotates in millimetres: ``M = S^-1 R S``."""
    matrix = rotation(len(patch), how.rotate_degrees, rng)
    if spacing is not None:
        matrix = matrix * np.asarray(spacing) / np.asarray(spacing)[:, None]
    matrix = matrix * rng.uniform(1 - how.scale, 1 + how.scale, len(patch))
    bend = displacement(patch, how.elastic_smooth, rng) * np.float32(how.elastic)
    return Warp(patch, matrix, bend if how.elastic else None)


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


def displacement(patch: Shape, length: float, rng: np.random.Generator) -> np.ndarray:
    """A Gaussian random field per axis, ``(rank, *patch)`` float32, of mean 0 and variance 1, whose
    values at a distance of ``r`` voxels correlate by ``exp(-(r / length)**2)``.

    White noise on a grid of half a ``length``, spread by Gaussians axis by axis.
    """
    spread = [_spread(side, length / 2) for side in patch]
    field = rng.standard_normal((len(patch), *(s.shape[1] for s in spread)), np.float32)
    for matrix in reversed(spread):  # many small products: a large one would wake BLAS threads
        field = np.moveaxis(field @ matrix.T, -1, 1)
    return np.ascontiguousarray(field)


def _spread(side: int, sigma: float) -> np.ndarray:
    """``(side, nodes)``: Gaussians of the nodes, one per ``sigma``; each row has the norm 1."""
    nodes = sigma * np.arange(-3, np.ceil((side - 1) / sigma) + 4)
    weights = np.exp(-0.5 * ((np.arange(side)[:, None] - nodes) / sigma) ** 2)
    unit = weights / np.linalg.norm(weights, axis=1, keepdims=True)
    return unit.astype(np.float32)


def resample(image: np.ndarray, label: np.ndarray, how: Warp) -> tuple[np.ndarray, np.ndarray]:
    """Both seen through a warp: linear for the image, nearest for the label, at the same places;
    past the border of the tile they are mirrored."""
    where = how.coordinates()
    out = np.empty((*how.patch, image.shape[-1]), np.float32)
    for c in range(image.shape[-1]):
        map_coordinates(image[..., c], where, out[..., c], order=1, mode="mirror")
    return out, map_coordinates(label, where, order=0, mode="mirror")
