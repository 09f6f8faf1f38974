"""The pieces of a mosaic on the grid of its finished map, which may be finer, or a part of the whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seg_batch.core.errors import OutputError
from seg_batch.core.geometry import Box, Shape
from seg_batch.core.georef import RasterGeoref
from seg_batch.inference.plan import Decisions
from seg_batch.inference.request import Prepared
from seg_batch.io.sources.mosaic.index import MosaicIndex
from seg_batch.io.sources.protocol import SourceInfo

_NEAR = 0.01  # of a voxel of the map


@dataclass(frozen=True)
class OnProduct:
    """``finer``: voxels of the map for one of the mosaic, along each axis; ``shift``: where the mosaic begins on the map."""

    index: MosaicIndex
    finer: Shape
    shift: Shape

    def box(self, number: int) -> Box:
        """Of a piece, in voxels of the map; it may reach beyond it."""
        box = self.index.box(number)
        ends = (
            tuple(n * f + s for n, f, s in zip(end, self.finer, self.shift, strict=True))
            for end in (box.start, box.stop)
        )
        return Box(*ends)

    def find(self, box: Box) -> list[int]:
        """The numbers of the pieces under a box of the map, the one first that counts before the others."""
        axes = list(zip(box.start, box.stop, self.finer, self.shift, strict=True))
        start = tuple((a - s) // f for a, _, f, s in axes)
        stop = tuple(-(-(b - s) // f) for _, b, f, s in axes)
        return self.index.find(Box(start, stop))


def index_for(prepared: Prepared[Decisions]) -> MosaicIndex:
    """The index of the mosaic of a request."""
    from seg_batch.io.sources.mosaic.source import index_of  # and GDAL, which a volume needs not

    spec = prepared.request.image()
    return index_of(spec.paths, prepared.info.identity, spec.scene, *spec.alpha[:1])


def on_product(index: MosaicIndex, product: SourceInfo) -> OnProduct:
    """OutputError where the map has another grid than the mosaic."""
    here, there = index.georef, product.georef
    assert isinstance(here, RasterGeoref)
    assert isinstance(there, RasterGeoref)
    step = np.linalg.solve(there.matrix, here.matrix)
    finer, shift = step[[1, 0], [1, 0]], step[[1, 0], 2]
    whole = tuple(int(n) for n in np.rint(finer)), tuple(int(n) for n in np.rint(shift))
    far = np.abs(finer - whole[0]) * index.extent
    if min(whole[0]) < 1 or max(far.max(), np.abs(shift - whole[1]).max()) > _NEAR:
        raise OutputError(
            f"{product.path} lies on another grid than the mosaic, so no map of each piece can be cut from it: leave out "
            "--tiles-out, or take the grid of the input"
        )
    return OnProduct(index, *whole)
