"""Which grid a model works on over an image, and by which rules its voxels come there and back.

The edges of both grids coincide, so that the number of voxels is all that changes along an axis::

    target = round(source * size / wanted)        x_source = (x_target + 1/2) * source / target - 1/2
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from seg_batch.config.card_parts.resampling import Resampling
from seg_batch.config.image_options.grid import MOST_MM, GridOptions, OutputGrid
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box, Shape
from seg_batch.core.georef import RasterGeoref, VolumeGeoref
from seg_batch.core.resample.pasted import Pasted, WayBack
from seg_batch.core.resample.resampler import Resampler
from seg_batch.core.units import share_in_line
from seg_batch.io.sources.areas.pixel_size import pixel_sides_m, size_change
from seg_batch.io.sources.protocol import SourceInfo

Sizes = tuple[float, ...]

SHEARED = 1e-3  # cosine of the angle between two axes
VARIED = 1.05  # a factor between the sizes of pixels of one scene
MOST_ALONG = 1 << 22  # voxels of a grid along an axis, whose rows of weights lie in memory
ENDLESS = 1e18  # voxels along an axis: refused where the image is opened
MOST_VOXELS = 1 << 40
FLATTENED = 64  # so many times longer, voxels that leave one along an axis show nothing of it


class GridCard(Protocol):
    """What a card says of the grid of its model."""

    @property
    def rank(self) -> int | None: ...

    @property
    def spacing_mm(self) -> Sizes | None: ...

    @property
    def pixel_m(self) -> float | None: ...

    @property
    def resampling(self) -> Resampling: ...


@dataclass(frozen=True)
class ModelGrid:
    """Another grid than that of the image, in the axes of the model.

    ``source`` and ``target``: extents of the image and of the grid; ``rules``: of values, per axis, ``back``: of
    probabilities. ``size`` and ``wanted``: of a voxel in ``unit``, as the image has it and as the model wants it.
    ``output``: the grid of the product; ``asked``: the sizes are those of ``--spacing``, not of the card. ``crop``: the first
    voxel of the part of the image that the model sees, of extent ``source``, and ``whole``: the extent of the image; a
    part that begins at its end: there is nothing to see. ``normalised``: values are normalised before they are resampled.
    """

    source: Shape
    target: Shape
    rules: tuple[str, ...]
    back: tuple[str, ...]
    size: Sizes
    wanted: Sizes
    unit: str
    output: OutputGrid = "native"
    asked: bool = False
    crop: Shape = ()
    whole: Shape = ()
    normalised: bool = False

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ModelGrid:
        values: dict[str, Any] = {
            key: tuple(v) if isinstance(v, list) else v for key, v in data.items()
        }
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """Without what is not so, as earlier versions knew none of it."""
        values = asdict(self)
        return {k: v for k, v in values.items() if v or k not in ("crop", "whole", "normalised")}

    @property
    def resampled(self) -> bool:
        return self.source != self.target

    @property
    def nothing(self) -> bool:
        """Whether the model has nothing to see in the image."""
        return bool(self.crop) and self.crop == self.whole

    @property
    def part(self) -> Box:
        """The voxels of the image that lie on the grid."""
        at = self.crop if self.crop and not self.nothing else (0,) * len(self.source)
        return Box.at(at, self.source)

    @property
    def slices(self) -> int | None:
        """The axis whose slices come to the grid each by itself; None: the image does as a whole."""
        return self.rules.index("nearest") if "nearest" in self.rules else None

    @cached_property
    def values(self) -> Resampler:
        """From the voxels of the image to those of the model."""
        return Resampler(self.source, self.target, self.rules)

    def probabilities(self, finer: Shape) -> WayBack:
        """From the output of the model back to the image, with ``finer`` voxels for each on both grids."""
        fine = [
            tuple(n * f for n, f in zip(extent, finer, strict=True))
            for extent in (
                self.target,
                self.source,
                self.crop or self.source,
                self.whole or self.source,
            )
        ]
        back = Resampler(fine[0], fine[1], self.back)
        return Pasted(back, fine[2], fine[3]) if self.crop else back

    def inside(self, box: Box) -> Box:
        """The voxels of the image that lie wholly in a box of the grid."""
        axes = list(zip(box.start, box.stop, self.source, self.target, strict=True))
        starts = tuple(-(-a * n // m) for a, _, n, m in axes)
        return Box(
            starts, tuple(max(k, b * n // m) for k, (_, b, n, m) in zip(starts, axes, strict=True))
        )

    @property
    def words(self) -> str:
        """``from 5 x .7 x .7 mm to 1 x 1 x 1 mm (nearest, cubic, cubic)``; of a crop its extent as well, or alone."""
        if not self.crop:
            return self._sizes
        seen, whole = (" x ".join(map(str, extent)) for extent in (self.source, self.whole))
        crop = "to nothing, since all is 0" if self.nothing else f"to {seen} of {whole} voxels"
        return f"{self._sizes}, cropped {crop}" if self.verb == "resampled" else crop

    @property
    def verb(self) -> str:
        """What was done to the image, of which ``words`` say more."""
        return "resampled" if self.resampled and not self.nothing else "cropped"

    @property
    def _sizes(self) -> str:
        old, new = (" x ".join(f"{v:.4g}" for v in sizes) for sizes in (self.size, self._reached))
        axes = zip(self.rules, self.source, self.target, strict=True)
        used = [rule if n != m else "as it is" for rule, n, m in axes]
        rules = ", ".join(used) if len({*used}) > 1 else used[0]
        return f"from {old} {self.unit} to {new} {self.unit} ({rules})"

    @property
    def _reached(self) -> Sizes:
        """The size of a voxel of the grid: whole voxels fill the image."""
        axes = zip(self.size, self.source, self.target, strict=True)
        return tuple(size * n / m for size, n, m in axes)


def model_grid(
    info: SourceInfo, card: GridCard, options: GridOptions, crop: Box | None = None
) -> ModelGrid | None:
    """The grid of a model over an image in the axes of the model, or over a ``crop`` of it, of size 0 where there is nothing
    to see; None where it is that of the image, or where nothing is known of either. ``InputError`` where sizes were asked for and the image has none, and where the grid would have far
    too many voxels, or one along an axis of many."""
    whole = Box.whole(info.extent)
    if crop is None or crop == whole:
        return _grid(info, info.extent, card, options)
    if options.output_grid == "model":
        raise InputError(
            f"{info.path} is cropped to what is not 0 for its model, whose grid would be no map of the whole: "
            "leave out --output-grid model"
        )
    part = crop if crop.size else whole
    axes = len(whole.start)
    alike = ModelGrid(part.shape, part.shape, ("nearest",) * axes, ("linear",) * axes, (), (), "")
    grid = _grid(info, part.shape, card, options) or alike
    return replace(grid, crop=crop.start if crop.size else whole.stop, whole=info.extent)


def _grid(
    info: SourceInfo, extent: Shape, card: GridCard, options: GridOptions
) -> ModelGrid | None:
    """The grid over a part of an image, of this extent."""
    if options.resample == "never":
        return None
    wanted, size = wanted_sizes(info, card, options), voxel_sizes(info)
    if wanted is None or size is None:
        if options.spacing is not None:
            raise InputError(
                f"{info.path} does not say how large its voxels are, so --spacing has nothing to go by: "
                "give it a CRS and a transform or an affine, or drop --spacing"
            )
        return None
    kept = len(extent) - (card.rank or len(extent))  # slices of a 2-D model stay slices
    rule = card.resampling
    target = _extent(info, extent, size, (*size[:kept], *wanted[kept:]), rule.tolerance)
    if target == extent:
        return None
    volume = isinstance(info.georef, VolumeGeoref)
    thick = thick_axis((size, wanted), rule.thick_ratio) if volume else None
    rules = tuple(
        rule.thick if axis == thick else rule.up if m >= n else rule.down
        for axis, (n, m) in enumerate(zip(extent, target, strict=True))
    )
    # As in nnU-Net, what came by whole slices goes back by whole slices. It asks the model's grid first then.
    if rule.normalised and volume:
        thick = thick_axis((wanted, size), rule.thick_ratio)
    back = tuple(
        "nearest" if axis == thick and rule.thick == "nearest" else "linear"
        for axis in range(len(target))
    )
    unit = "mm" if volume else "m"
    return ModelGrid(
        extent,
        target,
        rules,
        back,
        size,
        wanted,
        unit,
        options.output_grid,
        options.spacing is not None,
        normalised=rule.normalised,
    )


def target_extent(extent: Shape, size: Sizes, wanted: Sizes, tolerance: float) -> Shape:
    """``round(n * size / wanted)`` voxels along each axis, at least one; ``n`` where the sizes differ within the
    ``tolerance``."""
    return tuple(
        n if abs(a / b - 1) <= tolerance else max(1, round(min(n * (a / b), ENDLESS)))
        for n, a, b in zip(extent, size, wanted, strict=True)
    )


def thick_axis(grids: Iterable[Sizes], ratio: float) -> int | None:
    """The axis of thick slices of the first of these grids that has any, by its voxel sizes; None where none has, or where
    voxels of that grid are as long along another axis."""
    thick = next((sizes for sizes in grids if max(sizes) > ratio * min(sizes)), None)
    if thick is None or thick.count(max(thick)) > 1:
        return None
    return thick.index(max(thick))


def _extent(info: SourceInfo, extent: Shape, size: Sizes, wanted: Sizes, tolerance: float) -> Shape:
    """The extent of a part of an image in voxels of the ``wanted`` size; InputError where that is no grid to work on."""
    axes = list(zip(extent, size, wanted, strict=True))
    lengths = [n if abs(a / b - 1) <= tolerance else n * (a / b) for n, a, b in axes]
    if max(lengths) > MOST_ALONG or math.prod(lengths) > MOST_VOXELS:
        voxels = " x ".join(f"{max(1.0, length):.4g}" for length in lengths)
        why = f"{voxels} voxels, more than any machine holds"
    elif any(
        n > 1 and s < 1.5 and b > FLATTENED * a for s, (n, a, b) in zip(lengths, axes, strict=True)
    ):
        why = "a single voxel along an axis that has many"
    else:
        return target_extent(extent, size, wanted, tolerance)
    old, new = (" x ".join(f"{v:.4g}" for v in sizes) for sizes in (size, wanted))
    unit = "mm" if isinstance(info.georef, VolumeGeoref) else "m"
    raise InputError(
        f"{info.path} would be resampled from {old} {unit} to {new} {unit}, which makes {why}: give a size nearer to "
        "that of the image (--spacing, or spacing_mm or pixel_m of the card or recipe), or see whether the file says the "
        "right one"
    )


def words_of(stated: Mapping[str, Any] | None) -> str:
    """``ModelGrid.words`` of a plan; empty where an image stays as it is."""
    return "" if stated is None else ModelGrid.from_json(stated).words


def way_back_of(stated: Mapping[str, Any] | None, seen: Shape) -> WayBack | None:
    """From what a model sees, of an extent, to the product, by the ``ModelGrid`` of a plan; None where both are one."""
    grid = None if stated is None else ModelGrid.from_json(stated)
    if grid is None or grid.output == "model":
        return None
    return grid.probabilities(tuple(n // m for n, m in zip(seen, grid.target, strict=True)))


def voxel_sizes(info: SourceInfo) -> Sizes | None:
    """Of a volume in mm along ``z, y, x``, of a raster in metres along ``y, x``; None where it is not known."""
    if isinstance(info.georef, VolumeGeoref):
        sizes = info.georef.spacing_mm
        return sizes if min(sizes) > 0 else None
    if isinstance(info.georef, RasterGeoref):
        return pixel_sides_m(info.georef, info.extent)
    return None


def wanted_sizes(info: SourceInfo, card: GridCard, options: GridOptions) -> Sizes | None:
    """The sizes of ``--spacing``, else of the card."""
    axes = len(info.extent)
    if options.spacing is not None:
        if len(options.spacing) not in (1, axes):
            raise InputError(
                f"--spacing has {len(options.spacing)} numbers and {info.path} {axes} axes: give one, or one "
                f"for each of {'z,y,x'[-2 * axes + 1 :]}"
            )
        if isinstance(info.georef, VolumeGeoref) and max(options.spacing) > MOST_MM:
            raise InputError(
                f"--spacing {max(options.spacing):g} makes voxels of more than a metre, and {info.path} is a volume: give "
                "mm"
            )
        return options.spacing if len(options.spacing) == axes else options.spacing * axes
    if isinstance(info.georef, VolumeGeoref):
        return _of_axes(card.spacing_mm, info.georef.spacing_mm)
    return None if card.pixel_m is None else (card.pixel_m,) * axes


def _of_axes(sizes: Sizes | None, own: Sizes) -> Sizes | None:
    """The sizes of a card for all axes of a volume: two are those within slices, between which nothing is resampled."""
    return None if sizes is None else (*own[: len(own) - len(sizes)], *sizes)


def grid_warnings(info: SourceInfo, grid: ModelGrid | None) -> tuple[str, ...]:
    """What is to be known of an image that is resampled."""
    if grid is None:
        return ()
    if isinstance(info.georef, RasterGeoref):
        change = size_change(info.georef, info.extent)
        if change <= VARIED:
            return ()
        return (
            f"its pixels differ by {share_in_line(change - 1, 0)} over the scene, and are resampled by their size in "
            "the middle: cut it into parts, or project it, where that matters",
        )
    sides = info.georef.matrix[:3, :3]
    sides = sides / np.linalg.norm(sides, axis=0)
    lean = float(np.abs(np.triu(sides.T @ sides, 1)).max())
    if lean <= SHEARED:
        return ()
    return (
        f"it is resampled along its own axes, which are sheared by {math.degrees(math.asin(min(1.0, lean))):.2g} degrees "
        "and stay so",
    )
