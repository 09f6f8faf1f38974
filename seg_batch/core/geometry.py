"""Boxes, tiles and blocks: regions of the voxel grid, as pure integer arithmetic.

Spatial tuples are ``(z,) y, x``. A *tile* is the place of one patch; tiles overlap. A *block* is a
box of the output that one task writes; blocks do not overlap. The *window* of a block is what must
be read to write it::

    window  +---------------------+      A block sums every tile that touches it, alone and
                | tile . tile . tile  |      in grid order, so that its bytes depend neither on
                |   +-------------+   |      the other blocks nor on the workers (law 2).
                | . |    block    | . |
                |   +-------------+   |
                | tile . tile . tile  |
                +---------------------+
"""

from __future__ import annotations

import itertools
import math
import operator
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

Shape = tuple[int, ...]
Needed = Callable[[int, int, int], tuple[int, int]]


def _axiswise(function: Callable[[int, int], int], a: Shape, b: Shape) -> Shape:
    return tuple(function(x, y) for x, y in zip(a, b, strict=True))


@dataclass(frozen=True, slots=True)
class Box:
    """Half-open integer region ``start <= v < stop`` per axis, in voxels."""

    start: Shape
    stop: Shape

    def __post_init__(self) -> None:
        if len(self.start) != len(self.stop):
            raise ValueError(f"box start {self.start} and stop {self.stop} differ in rank")

    @classmethod
    def whole(cls, extent: Shape) -> Box:
        """``0 <= v < extent`` along each axis."""
        return cls((0,) * len(extent), tuple(extent))

    @classmethod
    def at(cls, start: Shape, shape: Shape) -> Box:
        """The box of a shape that begins at ``start``."""
        return cls(start, _axiswise(operator.add, start, shape))

    @property
    def shape(self) -> Shape:
        return _axiswise(operator.sub, self.stop, self.start)

    @property
    def size(self) -> int:
        """Number of voxels, 0 when any side is empty or negative."""
        return math.prod(max(0, n) for n in self.shape)

    def intersection(self, other: Box) -> Box:
        return Box(_axiswise(max, self.start, other.start), _axiswise(min, self.stop, other.stop))

    def touches(self, other: Box) -> bool:
        return self.intersection(other).size > 0

    def contains(self, other: Box) -> bool:
        return self.intersection(other) == other

    def union(self, other: Box) -> Box:
        """The smallest box that holds both."""
        return Box(_axiswise(min, self.start, other.start), _axiswise(max, self.stop, other.stop))

    def shift(self, by: Shape) -> Box:
        return Box(_axiswise(operator.add, self.start, by), _axiswise(operator.add, self.stop, by))

    def grown(self, by: Shape) -> Box:
        """With ``by`` more voxels on each side, regardless of the extent."""
        return Box(_axiswise(operator.sub, self.start, by), _axiswise(operator.add, self.stop, by))

    def middle(self, most: Shape) -> Box:
        """The central part, at most ``most`` voxels per axis."""
        shape = tuple(map(min, self.shape, most))
        sides = zip(self.start, self.shape, shape, strict=True)
        return self.at(tuple(a + (n - m) // 2 for a, n, m in sides), shape)

    def slices(self, origin: Shape | None = None) -> tuple[slice, ...]:
        """Slices that pick this box out of an array whose first voxel lies at ``origin``."""
        origin = origin or (0,) * len(self.start)
        start, stop = (_axiswise(operator.sub, end, origin) for end in (self.start, self.stop))
        return tuple(map(slice, start, stop))

    def __str__(self) -> str:
        return ",".join(f"{a}:{b}" for a, b in zip(self.start, self.stop, strict=True))


@dataclass(frozen=True, slots=True)
class Tile:
    """The place of one patch. ``box`` reaches past the extent where the extent is smaller than the
    patch; ``trusted`` is the part inside the extent where the tile's taper is not zero."""

    index: Shape
    box: Box
    trusted: Box


@dataclass(frozen=True, slots=True)
class Block:
    """The unit of work and of writing: a box of the output that one task writes."""

    index: Shape
    box: Box

    @property
    def name(self) -> str:
        return ".".join(map(str, self.index))


@dataclass(frozen=True)
class Axis:
    """One axis of a grid: the starts and the trusted parts of its tiles, in voxels.

    ``starts = 0, stride, 2 stride, ...``, and the last one is moved back to end at the extent; ``even``: the steps between
    tiles are alike instead, as nnU-Net has them. ``before``: voxels by which a tile longer than the extent begins before it;
    ``lead``: by which the first begins before it, and the last ends after it, whatever their length.
    """

    extent: int
    patch: int
    overlap: int
    margin: int
    even: bool = False
    before: int = 0
    lead: int = 0

    def __post_init__(self) -> None:
        if self.extent < 1 or self.patch < 1:
            raise ValueError(f"extent {self.extent} and patch {self.patch} must be at least 1")
        if not 0 <= self.overlap < self.patch:
            raise ValueError(
                f"overlap {self.overlap} must be at least 0 and less than the patch {self.patch}"
            )
        if self.margin < 0 or 2 * self.margin > self.overlap:
            raise ValueError(
                f"margin {self.margin} on both sides of a seam needs an overlap of at least "
                f"{2 * self.margin}, not {self.overlap}: voxels would be left without a tile"
            )
        if not 0 <= 2 * self.lead < self.patch:
            raise ValueError(f"lead {self.lead} must be at least 0 and less than half of the patch")

    @cached_property
    def starts(self) -> tuple[int, ...]:
        last = self.extent + 2 * self.lead - self.patch
        if last <= 0:
            return (-max(self.before, self.lead),)
        stride = self.patch - self.overlap
        starts = self._even(last) if self.even else (*range(0, last, stride), last)
        return tuple(start - self.lead for start in starts)

    def _even(self, last: int) -> tuple[int, ...]:
        """As few tiles as cover the extent. Where half of a patch is shared, rounded down, the stride is its half, which of an
        odd one is half a voxel less than a step may be."""
        half = self.overlap == self.patch // 2
        steps = -(-2 * last // (self.patch if half else 2 * (self.patch - self.overlap)))
        return tuple(round(i * (last / steps)) for i in range(steps + 1))

    @cached_property
    def firsts(self) -> tuple[int, ...]:
        """The first voxel of each tile inside the extent."""
        return tuple(max(0, start) for start in self.starts)

    def trusted(self, i: int) -> tuple[int, int]:
        """``start, stop`` of tile ``i`` less its margins; there are none at the extent's ends."""
        start = self.starts[i] + (self.margin if i > 0 else 0)
        stop = self.starts[i] + self.patch - (self.margin if i < len(self.starts) - 1 else 0)
        return max(start, 0), min(stop, self.extent)

    def touching(self, start: int, stop: int) -> range:
        """Indices of the tiles whose trusted part touches ``start <= v < stop``."""
        first, last = bisect_right(self.starts, start - self.patch), bisect_left(self.starts, stop)
        trusted = ((i, *self.trusted(i)) for i in range(first, last))
        hits = [i for i, a, b in trusted if a < stop and start < b]
        return range(hits[0], hits[-1] + 1) if hits else range(0)


@dataclass(frozen=True)
class Tiling:
    """How tiles are laid out, and what a model sees beyond what it labels.

    ``shrink``: voxels per side and axis that it sees around each tile, empty: none. ``padding``: what it sees beyond the
    extent: the image ``mirror``ed; or ``zero``, after normalisation, and an image smaller than a tile lies in its middle, by
    whole voxels of the model's input, which are ``finer`` of the grid. ``even`` and ``lead``: see `Axis`.
    """

    shrink: Shape = ()
    padding: str = "mirror"
    even: bool = False
    finer: int = 1
    lead: Shape = ()

    def before(self, extent: int, patch: int) -> int:
        """How far a tile longer than the extent begins before it: half of what is missing, rounded down."""
        missing = patch - extent if self.padding == "zero" else 0
        return max(0, missing // (2 * self.finer) * self.finer)

    def to_json(self) -> dict[str, Any] | None:
        """None: as everything was laid out before there was a choice."""
        if self == Tiling():
            return None
        return {**asdict(self), "shrink": list(self.shrink), "lead": list(self.lead)}

    @classmethod
    def from_json(cls, data: dict[str, Any] | None) -> Tiling:
        """TypeError or ValueError where the data are none."""
        sides = {
            key: tuple(value) for key, value in (data or {}).items() if key in ("shrink", "lead")
        }
        return cls(**{**data, **sides}) if data else cls()


@dataclass(frozen=True)
class Grid:
    """All tiles of an extent: a product of per-axis starts, in row-major order. ``patch``: what is labelled of each, of
    which a model may see more around (``Tiling.shrink``)."""

    extent: Shape
    patch: Shape
    overlap: Shape
    margin: Shape
    tiling: Tiling = Tiling()

    def __post_init__(self) -> None:
        if not len(self.extent) == len(self.patch) == len(self.overlap) == len(self.margin):
            raise ValueError(
                f"extent {self.extent}, patch {self.patch}, overlap {self.overlap} and margin "
                f"{self.margin} must have one rank"
            )
        _ = self.axes

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        how = self.tiling
        leads = how.lead or (0,) * len(self.patch)
        sides = zip(self.extent, self.patch, self.overlap, self.margin, leads, strict=True)
        return tuple(
            Axis(n, p, o, m, how.even, how.before(n, p), lead) for n, p, o, m, lead in sides
        )

    @property
    def shrink(self) -> Shape:
        """Voxels per side and axis that a model sees around each tile."""
        return self.tiling.shrink or (0,) * len(self.patch)

    def seen(self, tile: Tile) -> Box:
        """What a model sees of a tile; it may reach past the extent."""
        return tile.box.grown(self.shrink)

    @property
    def shape(self) -> Shape:
        """Number of tiles per axis."""
        return tuple(len(axis.starts) for axis in self.axes)

    def __len__(self) -> int:
        return math.prod(self.shape)

    def tile(self, index: Shape) -> Tile:
        start = tuple(axis.starts[i] for axis, i in zip(self.axes, index, strict=True))
        trusted = [axis.trusted(i) for axis, i in zip(self.axes, index, strict=True)]
        return Tile(tuple(index), Box.at(start, self.patch), Box(*zip(*trusted, strict=True)))

    def __iter__(self) -> Iterator[Tile]:
        return (self.tile(i) for i in itertools.product(*map(range, self.shape)))

    def _ranges(self, box: Box) -> list[range]:
        sides = zip(self.axes, box.start, box.stop, strict=True)
        return [axis.touching(a, b) for axis, a, b in sides]

    def touching(self, box: Box) -> Iterator[Tile]:
        """Tiles whose trusted part touches ``box``, in grid order."""
        return (self.tile(i) for i in itertools.product(*self._ranges(box)))

    def count(self, box: Box) -> int:
        """``len(list(self.touching(box)))`` without making the tiles."""
        return math.prod(map(len, self._ranges(box)))

    def window(self, box: Box) -> Box:
        """What must be read to write ``box``: what a model sees of the tiles touching it, inside the extent."""
        ranges = self._ranges(box)
        first = self.tile(tuple(r[0] for r in ranges)).box
        last = self.tile(tuple(r[-1] for r in ranges)).box
        return first.union(last).grown(self.shrink).intersection(Box.whole(self.extent))


@dataclass(frozen=True)
class Blocks:
    """The extent cut into blocks of ``shape`` (the last ones smaller), in row-major order."""

    extent: Shape
    shape: Shape

    def __post_init__(self) -> None:
        if len(self.extent) != len(self.shape) or min(self.shape) < 1:
            raise ValueError(f"blocks of {self.shape} do not fit an extent of {self.extent}")

    @property
    def counts(self) -> Shape:
        """Number of blocks per axis."""
        return tuple(-(-n // s) for n, s in zip(self.extent, self.shape, strict=True))

    def __len__(self) -> int:
        return math.prod(self.counts)

    def block(self, index: Shape) -> Block:
        start = _axiswise(operator.mul, index, self.shape)
        stop = _axiswise(min, _axiswise(operator.add, start, self.shape), self.extent)
        return Block(tuple(index), Box(start, stop))

    def __iter__(self) -> Iterator[Block]:
        return (self.block(i) for i in itertools.product(*map(range, self.counts)))


def recompute_factor(grid: Grid, blocks: Blocks, needed: Needed | None = None) -> float:
    """Tiles predicted over all blocks, divided by the tiles of the grid (1: none is predicted twice).

    Both are products over axes: ``prod_a sum_b |touching_a(b)| / prod_a |starts_a|``. ``needed(axis, start, stop)``:
    what of the grid a span of blocks on another grid needs.
    """
    factor = 1.0
    for k, (axis, side, count) in enumerate(
        zip(grid.axes, blocks.shape, blocks.counts, strict=True)
    ):
        spans = ((b * side, min((b + 1) * side, blocks.extent[k])) for b in range(count))
        parts = (span if needed is None else needed(k, *span) for span in spans)
        factor *= sum(len(axis.touching(*part)) for part in parts) / len(axis.starts)
    return factor
