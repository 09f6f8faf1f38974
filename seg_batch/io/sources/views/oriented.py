"""A volume seen in a chosen orientation, without copying it.

A scanner may store a head with any axis first and in either direction; a model takes one orientation. The
view permutes and flips axes so that its ``x, y, z`` run to the letters of the orientation (RAS: to
the Right, Anterior, Superior). The output of the model goes back by the exact inverse::

    native (z, y, x) --flip, transpose--> view (z, y, x) --model--> --transpose, flip--> native

Only the closest axes are matched; an oblique volume stays oblique, nothing is resampled. ``stored`` is no
orientation: the axes of the file as they are, and as far as numbers follow (``stored:1,0,2``) in their order.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from seg_batch.config.card import STORED
from seg_batch.core.geometry import Box, Shape
from seg_batch.core.georef import Affine16, RasterGeoref, VolumeGeoref
from seg_batch.core.normalise import Pixels
from seg_batch.io.sources.protocol import Source, SourceInfo, known_empty

_PAIRS = ({"L", "R"}, {"P", "A"}, {"I", "S"})


class Oriented:
    """A source in view space. A raster has no anatomy: its view is the source itself.

    ``info``: extent, chunk and georef as the view has them. ``orientation``: three letters, one
    of L/R, P/A, I/S each, in any order; or ``stored``, ``z, y, x`` as SimpleITK's arrays have them, where numbers say
    which axis of the file each axis of the view shows; ``ValueError`` otherwise.
    """

    def __init__(self, source: Source, orientation: str = "RAS") -> None:
        self.source = source
        rank = len(source.info.extent)
        self._axes, self._flips = tuple(range(rank)), (False,) * rank
        georef = source.info.georef
        if isinstance(georef, VolumeGeoref):
            self._axes, self._flips = _steps(georef.matrix, orientation)
        self.info = self._seen(source.info)

    @property
    def identity(self) -> bool:
        """Whether the view is the source as stored."""
        return self._axes == tuple(range(len(self._axes))) and not any(self._flips)

    def read(self, box: Box) -> Pixels:
        """The pixels of a box of view space, as NumPy views of those that the source read."""
        return self.source.read(self.to_native(box)).map(self.to_view_array)

    def known_empty(self, box: Box) -> bool:
        return known_empty(self.source, self.to_native(box))

    def close(self) -> None:
        self.source.close()

    def to_native(self, box: Box) -> Box:
        """A box of view space in the axes of the file."""
        mirrored = self._mirrored(box)
        order = [self._axes.index(n) for n in range(len(self._axes))]
        return Box(*(tuple(end[v] for v in order) for end in (mirrored.start, mirrored.stop)))

    def to_view(self, box: Box) -> Box:
        """A box of the file in view space."""
        return self._mirrored(Box(self._shape(box.start), self._shape(box.stop)))

    def _mirrored(self, box: Box) -> Box:
        """A box mirrored along the view axes that run backwards; its own inverse."""
        axes = zip(box.start, box.stop, self.info.extent, self._flips, strict=True)
        ends = [(n - b, n - a) if flip else (a, b) for a, b, n, flip in axes]
        return Box(tuple(a for a, _ in ends), tuple(b for _, b in ends))

    def to_view_array(self, array: np.ndarray) -> np.ndarray:
        """An array over a native box as one over the same box in view space; later axes stay."""
        rest = range(len(self._axes), array.ndim)
        return array.transpose(*self._axes, *rest)[self._mirror]

    def from_view(self, array: np.ndarray) -> np.ndarray:
        """An array over a view box as one over the same box in the file; later axes stay."""
        rest = range(len(self._axes), array.ndim)
        back = np.argsort(self._axes)
        return array[self._mirror].transpose(*back, *rest)

    @property
    def _mirror(self) -> tuple[slice, ...]:
        return tuple(slice(None, None, -1 if flip else 1) for flip in self._flips)

    def _shape(self, shape: Shape) -> Shape:
        return tuple(shape[n] for n in self._axes)

    def _seen(self, info: SourceInfo) -> SourceInfo:
        georef = info.georef
        if isinstance(georef, RasterGeoref):
            return info
        change = np.zeros((4, 4))  # the file's ``i, j, k`` of a voxel from its view's ``x, y, z``
        change[3, 3] = 1
        for v, (n, flip) in enumerate(zip(self._axes, self._flips, strict=True)):
            change[2 - n, 2 - v] = -1 if flip else 1
            change[2 - n, 3] = info.extent[n] - 1 if flip else 0

        def moved(matrix: Affine16 | None) -> Affine16 | None:
            return None if matrix is None else tuple(map(tuple, (matrix @ change).tolist()))

        affine, sform, qform = map(moved, (georef.affine, georef.sform, georef.qform))
        georef = replace(georef, affine=affine or georef.affine, sform=sform, qform=qform)
        extent, chunk = self._shape(info.extent), self._shape(info.chunk)
        return replace(info, extent=extent, chunk=chunk, georef=georef)


def _steps(affine: np.ndarray, orientation: str) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """For each view axis ``z, y, x``: the native axis it shows, and whether it runs backwards."""
    stored, _, order = orientation.partition(":")
    if stored == STORED:
        shown = tuple(map(int, order.split(","))) if order else (0, 1, 2)
        if sorted(shown) != [0, 1, 2]:
            raise ValueError(
                f"orientation {orientation!r} must name each of the axes 0, 1 and 2 once"
            )
        return shown, (False,) * 3
    from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

    letters = orientation.upper()
    if len(letters) != 3 or any(len(pair & set(letters)) != 1 for pair in _PAIRS):
        raise ValueError(f"orientation {orientation!r} must name L or R, P or A, and I or S, once")
    # Row i of nibabel's table: the view axis (0 = x) of file axis i, and its direction.
    table = ornt_transform(io_orientation(affine), axcodes2ornt(tuple(letters)))
    axes, flips = [0, 0, 0], [False, False, False]
    for i, (to, direction) in enumerate(table):
        v = 2 - int(to)
        axes[v], flips[v] = 2 - i, bool(direction < 0)
    return tuple(axes), tuple(flips)
