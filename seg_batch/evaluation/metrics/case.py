"""One case (a volume, a scene, a held-out region) scored block by block.

Law: blocks that tile the region, of any shape and in any order, give the same numbers as the whole
region added at once::

    add(b1, window(b1), ...); add(b2, window(b2), ...); ...; finish()  ==  add(region, ...); finish()

bit for bit: what is counted are integers, and distances are taken between sorted surfaces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from seg_batch.core.geometry import Blocks, Box, Shape
from seg_batch.evaluation.metrics import surface
from seg_batch.evaluation.metrics.confusion import Confusion, check_labels
from seg_batch.io.sources.areas.pixel_areas import PixelAreas

CELLS = {1: 64, 2: 8, 3: 4}  # per axis, so that the bootstrap has up to 64 cells to draw from
LIMIT = 40_000_000  # surface voxels of one case: 320 MB


@dataclass(frozen=True, eq=False)
class CaseScores:
    """The scores of one case; ``K`` classes, ``C`` cells.

    ``cells`` (int64, C x K x K) are the confusion matrices of a fixed lattice of up to 64 cells of
    the region that hold a valid voxel, ``bands`` (int64, C x K x 2) the voxels that both and that
    either band has, per cell: what a bootstrap within one case draws from. Distances, (K,), are in
    the unit of the spacing (voxels without one), NaN where neither truth nor prediction has the
    class and infinite where only one has. ``measured`` is False where the surfaces were too long
    to hold: then all distances are NaN. ``hectares``: of a pixel of each cell, where they differ.
    """

    cells: np.ndarray
    bands: np.ndarray
    hausdorff: np.ndarray
    hausdorff95: np.ndarray
    surface_distance: np.ndarray
    reach: Shape
    spacing: tuple[float, ...] | None
    measured: bool = True
    hectares: tuple[float, ...] | None = None

    @property
    def confusion(self) -> np.ndarray:
        """int64 (K, K); ``confusion[t, p]`` voxels of true class t were given p."""
        return self.cells.sum(0)

    @property
    def boundary_iou(self) -> np.ndarray:
        """(K,), NaN where neither truth nor prediction has the class."""
        return boundary_iou(self.bands.sum(0))


def boundary_iou(bands: np.ndarray) -> np.ndarray:
    """Of counts ``(..., K, 2)``, in both bands and in either: their ratio ``(..., K)``."""
    both, either = bands[..., 0], bands[..., 1]
    return np.divide(both, either, out=np.full(both.shape, np.nan), where=either > 0)


class CaseScorer:
    """Takes a case block by block: class indices of truth and prediction, and what is valid.

    ``region`` is the box that the blocks tile, in the caller's coordinates; ``spacing`` the length
    of a voxel per axis (mm, m; None: distances in voxels); ``reach`` half the width of the boundary
    band per axis, in voxels (default: 2 % of the diagonal, 1 to 32). Memory: some temporary bytes
    per voxel of a window, 8 bytes per surface voxel, and when the case ends about 50 bytes per
    surface voxel of one class. With more than ``limit`` surface voxels no distances are taken. ``areas``: of
    the pixels, in the coordinates of the region.
    """

    def __init__(
        self,
        classes: int,
        region: Box,
        spacing: tuple[float, ...] | None = None,
        reach: Shape | None = None,
        limit: int = LIMIT,
        areas: PixelAreas | None = None,
    ) -> None:
        self.classes, self.region, self.spacing, self.limit = classes, region, spacing, limit
        self._areas = None if areas is None or areas.flat else areas
        self.reach = reach or surface.default_reach(region.shape, spacing)
        if len(self.reach) != len(region.shape) or min(self.reach) < 1:
            raise ValueError(f"a band of {self.reach} voxels: at least 1 per axis is needed")
        side = tuple(-(-n // CELLS[len(self.reach)]) for n in region.shape)
        self._boxes = [b.box.shift(region.start) for b in Blocks(region.shape, side)]
        self._cells = np.zeros((len(self._boxes), classes, classes), np.int64)
        self._bands = np.zeros((len(self._boxes), classes, 2), np.int64)
        self._pieces: dict[str, list[list[np.ndarray]]] = {
            side: [[] for _ in range(classes)] for side in ("truth", "found")
        }
        self._held = 0

    def window(self, box: Box) -> Box:
        """The window that ``add`` needs for ``box``: the box grown by the reach, within the region."""
        return box.grown(self.reach).intersection(self.region)

    def add(
        self,
        box: Box,
        window: Box,
        truth: np.ndarray,
        found: np.ndarray,
        valid: np.ndarray | None = None,
    ) -> None:
        """Count ``box``; the arrays have ``window.shape`` and ``window`` is ``self.window(box)``.

        A voxel that is not ``valid`` counts in nothing and lies outside all masks, as if the region
        ended there. ``ValueError``: another window, an array of another shape, no class index.
        """
        self._check(box, window, (truth, found) if valid is None else (truth, found, valid))
        frames = {}
        for name, labels in (("truth", truth), ("found", found)):
            check_labels(labels if valid is None else labels[valid], self.classes)
            frames[name] = surface.framed(labels, valid, box, window, self.reach, self.classes)
            self._collect(name, box, frames[name])
        self._count(box, frames["truth"], frames["found"])

    def finish(self) -> CaseScores:
        """The scores of all that was added; takes the distances."""
        used = self._cells.any((1, 2))
        distances = np.array([self._distances(k) for k in range(self.classes)])
        hausdorff, hausdorff95, surface_distance = distances.T
        return CaseScores(
            cells=self._cells[used],
            bands=self._bands[used],
            hausdorff=hausdorff,
            hausdorff95=hausdorff95,
            surface_distance=surface_distance,
            reach=self.reach,
            spacing=self.spacing,
            measured=self._held <= self.limit,
            hectares=None if self._areas is None else self._hectares(self._areas, used),
        )

    def _hectares(self, areas: PixelAreas, used: Any) -> tuple[float, ...]:
        boxes = (box for box, one in zip(self._boxes, used, strict=True) if one)
        return tuple(areas.mean_hectares(box.intersection(self.region)) for box in boxes)

    def _check(self, box: Box, window: Box, arrays: tuple[np.ndarray, ...]) -> None:
        if not self.region.contains(box) or window != self.window(box):
            raise ValueError(
                f"window {window} for box {box} of region {self.region}: "
                f"{self.window(box)} is needed, or surfaces would be found where blocks meet"
            )
        for array in arrays:
            if array.shape != window.shape:
                raise ValueError(f"an array of {array.shape} for the window {window}")

    def _count(self, box: Box, truth: np.ndarray, found: np.ndarray) -> None:
        """Confusion and bands, cell by cell."""
        n = self.classes
        bands = [surface.band_of(frame, self.reach, n) for frame in (truth, found)]
        truth, found = surface.core(truth, self.reach), surface.core(found, self.reach)
        for i, cell in enumerate(self._boxes):
            part = cell.intersection(box)
            if part.size:
                at = part.slices(box.start)
                t, f, in_t, in_f = truth[at], found[at], bands[0][at], bands[1][at]
                confusion = Confusion(n)
                confusion.add(t, f, t < n)
                self._cells[i] += confusion.matrix
                both = np.bincount(t[in_t & in_f & (t == f)], minlength=n)
                sizes = np.bincount(t[in_t], minlength=n) + np.bincount(f[in_f], minlength=n)
                self._bands[i] += np.stack([both, sizes - both], axis=1)

    def _collect(self, name: str, box: Box, frame: np.ndarray) -> None:
        """Keep the surface voxels of each class, until there are too many to hold."""
        at = surface.surface_of(frame, self.reach, self.classes)
        voxels = np.nonzero(at)
        self._held += len(voxels[0])
        if self._held > self.limit:
            self._pieces = {}
            return
        starts = zip(voxels, box.start, self.region.start, strict=True)
        indices = np.ravel_multi_index(
            tuple(v + (a - o) for v, a, o in starts), self.region.shape
        ).astype(np.int64)
        classes = surface.core(frame, self.reach)[at]
        order = np.argsort(classes, kind="stable")
        ends = np.cumsum(np.bincount(classes, minlength=self.classes))
        for k, part in enumerate(np.split(indices[order], ends[:-1])):
            if len(part):
                self._pieces[name][k].append(part)

    def _distances(self, k: int) -> tuple[float, float, float]:
        if self._held > self.limit:
            return np.nan, np.nan, np.nan
        sides = [
            np.sort(np.concatenate([np.zeros(0, np.int64), *self._pieces[name][k]]))
            for name in ("truth", "found")
        ]
        return surface.distances(sides[0], sides[1], self.region.shape, self.spacing)
