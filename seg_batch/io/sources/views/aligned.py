"""A label image seen on the grid of another image: each voxel takes the label nearest to it.

Voxels outside the label image are not valid. Only the box that is read is held in memory.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import CRSError, RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.core.georef import RasterGeoref, VolumeGeoref
from seg_batch.core.normalise import Pixels
from seg_batch.io.sources.formats.raster_opening import RASTERS
from seg_batch.io.sources.protocol import Source, SourceInfo, read_error, require_inside
from seg_batch.io.sources.valid_mask import exactly, valid_mask

_TOLERANCE = 1e-6  # of a pixel; GDAL takes 1/8 by default, and can't make a dataset with 0


def align_to_grid(label: Source, grid: SourceInfo) -> Source:
    """``label`` on the grid of another image. InputError where no transform between the two is known;
    the label is closed with the view that is returned."""
    here, there = label.info.georef, grid.georef
    if label.info.kind != grid.kind:
        raise InputError(
            f"{label.info.path} is a {label.info.kind} and {grid.path} a {grid.kind}, no alignment "
            "joins them: give a label of the same kind"
        )
    if isinstance(here, VolumeGeoref) and isinstance(there, VolumeGeoref):
        return AlignedVolume(label, grid)
    for info in (label.info, grid):
        if not isinstance(info.georef, RasterGeoref) or info.georef.crs_wkt is None:
            raise InputError(f"{info.path} has no CRS, so nothing can be aligned with it: set one")
    if label.info.format not in RASTERS:
        raise InputError(f"{label.info.path} can't be aligned as {label.info.format}: use GeoTIFF")
    return AlignedRaster(label, grid)


class _Aligned:
    def __init__(self, label: Source, grid: SourceInfo) -> None:
        self._label = label
        seen = replace(label.info, extent=grid.extent, georef=grid.georef, chunk=grid.chunk)
        self.info = replace(seen, facts={**label.info.facts, "aligned": "nearest"})

    def close(self) -> None:
        self._label.close()


class AlignedRaster(_Aligned):
    """A raster warped by GDAL, nearest neighbour, its transform exact to a millionth of a pixel."""

    def __init__(self, label: Source, grid: SourceInfo) -> None:
        super().__init__(label, grid)
        assert isinstance(grid.georef, RasterGeoref)
        self._georef = grid.georef

    def read(self, box: Box) -> Pixels:
        require_inside(self.info, box)
        (y, x), (height, width) = box.start, box.shape
        place = {"window": Window(x, y, width, height)}
        path, driver = self._label.info.path, RASTERS[self._label.info.format]
        try:
            with (
                rasterio.open(path, driver=driver, sharing=False) as file,
                self._warp(file) as seen,
            ):
                bands = list(range(1, len(self.info.channels) + 1))
                values = seen.read(bands, **place).transpose(1, 2, 0)
                opaque = seen.dataset_mask(**place) != 0
        except (CRSError, RasterioError, OSError) as error:
            raise read_error(self.info, box, error) from error
        nodata = tuple(exactly(value, values.dtype) for value in self.info.nodata)
        corner = self._label.read(Box((0, 0), (1, 1)))  # for the scaling
        valid = valid_mask(values, nodata, opaque[..., None])
        return Pixels(values, valid, corner.scale, corner.offset)

    def _warp(self, file: Any) -> WarpedVRT:
        height, width = self.info.extent
        return WarpedVRT(
            file,
            crs=self._georef.crs_wkt,
            transform=Affine(*self._georef.transform),
            width=width,
            height=height,
            resampling=Resampling.nearest,
            tolerance=_TOLERANCE,
            add_alpha=ColorInterp.alpha not in file.colorinterp,
        )


class AlignedVolume(_Aligned):
    """A volume whose voxel at index ``v`` shows the label at ``round(inv(L) @ G @ v)``, with the
    affines ``L`` of the label and ``G`` of the grid."""

    def __init__(self, label: Source, grid: SourceInfo) -> None:
        super().__init__(label, grid)
        here, there = label.info.georef, grid.georef
        assert isinstance(here, VolumeGeoref)
        assert isinstance(there, VolumeGeoref)
        step = np.linalg.inv(here.matrix) @ there.matrix
        # From the files' i, j, k to the arrays' z, y, x.
        self._matrix, self._shift = step[:3, :3][::-1, ::-1], step[:3, 3][::-1]

    def read(self, box: Box) -> Pixels:
        require_inside(self.info, box)
        inside = self._needed(box)
        if not inside.size:
            empty = np.zeros((*box.shape, len(self.info.channels)), self.info.dtype)
            return Pixels(empty, np.zeros(empty.shape, bool))
        held = self._label.read(inside)
        start = self._matrix @ np.array(box.start) + self._shift - np.array(inside.start)
        valid = np.ones(held.values.shape, bool) if held.valid is None else held.valid
        values = self._nearest(held.values, start, box)
        return Pixels(values, self._nearest(valid, start, box), held.scale, held.offset)

    def _needed(self, box: Box) -> Box:
        """The box of the label under ``box``: the corners' bounding box, a voxel more on each side."""
        ends = zip(box.start, (b - 1 for b in box.stop), strict=True)
        corners = np.stack(np.meshgrid(*map(list, ends), indexing="ij"), -1).reshape(-1, 3)
        places = corners @ self._matrix.T + self._shift
        low, high = np.floor(places.min(0)) - 1, np.ceil(places.max(0)) + 2
        around = Box(tuple(low.astype(int).tolist()), tuple(high.astype(int).tolist()))
        return around.intersection(Box.whole(self._label.info.extent))

    def _nearest(self, array: np.ndarray, start: np.ndarray, box: Box) -> np.ndarray:
        from scipy.ndimage import affine_transform

        how = {"offset": start, "output_shape": box.shape, "order": 0, "mode": "grid-constant"}
        planes = [
            affine_transform(array[..., c], self._matrix, cval=0, **how)
            for c in range(array.shape[-1])
        ]
        return np.stack(planes, -1)
