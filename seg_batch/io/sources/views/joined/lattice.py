"""On whose grid files with unequal pixels meet, and how each of them lies on it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from seg_batch.config.card_parts.resampling import AS_NNUNET, Rule
from seg_batch.config.image_options.grid import GridOptions
from seg_batch.core.errors import InputError
from seg_batch.core.georef import SAME_PLACE, RasterGeoref, crs_name
from seg_batch.core.resample.placed import Placing
from seg_batch.io.sources.protocol import SourceInfo
from seg_batch.io.sources.views.model_grid import GridCard, voxel_sizes, wanted_sizes

_ONE_SIZE = 1e-6  # a relative difference between the pixels of two files that is none


@dataclass(frozen=True)
class OneGrid:
    """What decides on the grid of files with unequal pixels: that of the file whose pixels are nearest to ``pixel_m``
    metres; None: of the finest. ``up`` and ``down``: the rules by which others come to it, where it is finer or coarser."""

    pixel_m: float | None = None
    up: Rule = AS_NNUNET.up
    down: Rule = AS_NNUNET.down

    @classmethod
    def of(cls, info: SourceInfo, card: GridCard, options: GridOptions) -> OneGrid:
        """That of a model, for an image."""
        wanted = wanted_sizes(info, card, options) if info.kind == "raster" else None
        pixel_m = None if wanted is None else math.sqrt(wanted[-1] * wanted[-2])
        return cls(pixel_m, card.resampling.up, card.resampling.down)

    @classmethod
    def stated(cls, data: Mapping[str, Any] | None) -> OneGrid:
        """That of ``SourceInfo.composed``."""
        grid = (data or {}).get("stack_grid") or {}
        return cls(**{key: grid[key] for key in asdict(cls()) if key in grid})

    def to_json(self, lattice: SourceInfo) -> dict[str, Any]:
        assert isinstance(lattice.georef, RasterGeoref)
        place = {"extent": list(lattice.extent), "transform": list(lattice.georef.transform)}
        return {**asdict(self), **place}


FINEST = OneGrid()


def of_unequal_pixels(infos: Sequence[SourceInfo]) -> bool:
    """Whether these are georeferenced rasters whose pixels are not of one size."""
    places = [info.georef for info in infos]
    if not all(isinstance(p, RasterGeoref) and not p.gcps and not p.rpcs for p in places):
        return False
    if any(p.transform == RasterGeoref().transform for p in places if isinstance(p, RasterGeoref)):
        return False
    sizes = np.array([place.spacing for place in places])
    return bool(sizes.min() > 0 and (np.ptp(sizes, 0) > _ONE_SIZE * sizes.min(0)).any())


def lattice_of(infos: Sequence[SourceInfo], want: OneGrid) -> SourceInfo:
    """The file whose grid is that of all; of equals the first."""
    if want.pixel_m is not None and all(voxel_sizes(info) is not None for info in infos):
        pixel_m = want.pixel_m
        return min(infos, key=lambda info: (_apart(info, pixel_m), _area(info)))
    return min(infos, key=_area)


def _apart(info: SourceInfo, pixel_m: float) -> float:
    """How many times larger or smaller its pixels are, as a logarithm, rounded so that equals are equal."""
    sizes = voxel_sizes(info)
    assert sizes is not None
    return round(abs(math.log(math.sqrt(math.prod(sizes)) / pixel_m)), 3)


def _area(info: SourceInfo) -> float:
    """Of a pixel in units of the CRS, rounded so that those of one grid are equal."""
    return float(f"{math.prod(info.georef.spacing):.5g}")


def placings_on(lattice: SourceInfo, info: SourceInfo) -> tuple[Placing, ...]:
    """How the pixels of a file lie on a lattice, along ``y, x``. InputError naming what differs, where it has no place there."""
    if differences := _strangers(lattice, info):
        raise _unfit(lattice, info, differences)
    assert isinstance(lattice.georef, RasterGeoref)
    assert isinstance(info.georef, RasterGeoref)
    moved = np.linalg.solve(lattice.georef.matrix, info.georef.matrix)
    scale, begin = moved.diagonal()[:2][::-1], moved[:2, 2][::-1]
    turned = np.abs([moved[0, 1] * info.extent[0], moved[1, 0] * info.extent[1]]).max()
    if scale.min() <= 0 or turned > SAME_PLACE * max(1.0, scale.max()):
        raise _unfit(lattice, info, "its rows or columns run in other directions")
    rows = [
        _Axis(float(b), float(s), n, m)
        for b, s, n, m in zip(begin, scale, info.extent, lattice.extent, strict=True)
    ]
    placings = [row.placing for row in rows]
    far = max(row.far for row in rows)
    off = f"outer edges up to {far:.3g} pixels apart, which lie off each other's grid"
    if any(placing is None for placing in placings):
        raise _unfit(lattice, info, off)
    if not (all(row.covers for row in rows) or all(row.covered for row in rows)):
        raise _unfit(lattice, info, f"{off.split(',')[0]}, and neither holds the other")
    return tuple(placing for placing in placings if placing is not None)


def _strangers(lattice: SourceInfo, info: SourceInfo) -> str:
    a, b = lattice.georef, info.georef
    if not (isinstance(a, RasterGeoref) and isinstance(b, RasterGeoref)):
        return f"kind: {lattice.kind} against {info.kind}"
    if a.gcps or b.gcps or a.rpcs or b.rpcs:
        return "one has its place by control points or RPCs"
    from seg_batch.io.sources.crs import same_crs  # with GDAL, of which volumes have no need

    same = same_crs(a.crs_wkt, b.crs_wkt)
    return "" if same else f"crs: {crs_name(a.crs_wkt)} against {crs_name(b.crs_wkt)}"


def _unfit(lattice: SourceInfo, info: SourceInfo, what: str) -> InputError:
    return InputError(
        f"{info.path} can't be stacked on {lattice.path}, whose pixels have another size ({what}), their channels would "
        "show different places: bring both to one area first"
    )


@dataclass(frozen=True)
class _Axis:
    """One axis of a file on a lattice: ``begin`` and ``scale`` in pixels of the lattice, ``n`` of its own, ``m`` of that."""

    begin: float
    scale: float
    n: int
    m: int

    @property
    def end(self) -> float:
        return self.begin + self.scale * self.n

    @property
    def near(self) -> float:
        """What is no difference, in pixels of the lattice: a hundredth of a coarse pixel."""
        return SAME_PLACE * max(1.0, self.scale)

    @property
    def far(self) -> float:
        """How far apart outer edges are, in coarse pixels."""
        return max(abs(self.begin), abs(self.end - self.m)) / max(1.0, self.scale)

    @property
    def covers(self) -> bool:
        inner = self.begin <= self.near and self.end >= self.m - self.near
        return inner or self._centred

    @property
    def covered(self) -> bool:
        inner = self.begin >= -self.near and self.end <= self.m + self.near
        return inner or self._centred

    @property
    def placing(self) -> Placing | None:
        if self._is(self.begin, 0) and self._is(self.end, self.m):
            return self.n, 0, self.m
        if self._centred:
            return 2 * (self.n - 1), self.m - self.n, 2 * (self.m - 1)
        low, high = max(0.0, self.begin), min(float(self.m), self.end)
        ours = [round(low), round(high)]
        own = [round((edge - self.begin) / self.scale) for edge in (low, high)]
        back = (self.begin + self.scale * edge for edge in own)
        on_both = [*map(self._is, (low, high), ours), *map(self._is, (low, high), back)]
        if high <= low or not all(on_both) or ours[0] == ours[1] or own[0] == own[1]:
            return None
        step, parts = own[1] - own[0], ours[1] - ours[0]
        return step, own[0] * parts - ours[0] * step, parts

    @property
    def _centred(self) -> bool:
        """Whether the first centres and the last ones coincide, as those of the panchromatic band of Landsat and its
        others do, which have 2 n - 1 and n pixels."""
        few, many = sorted((self.n, self.m))
        if few < 2 or few == many or (many - 1) % (few - 1):
            return False
        first, last = self.begin + self.scale / 2, self.end - self.scale / 2
        return self._is(first, 0.5) and self._is(last, self.m - 0.5)

    def _is(self, a: float, b: float) -> bool:
        return abs(a - b) <= self.near
