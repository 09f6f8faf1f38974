"""A thinned sample of an image, of bounded bytes and time whatever its size: for a look before the work."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from seg_batch.core.errors import ReadError
from seg_batch.core.geometry import Blocks, Box, Shape
from seg_batch.core.normalise import Pixels
from seg_batch.io.sources.protocol import Source, SourceInfo

READ_BYTES = 32 << 20  # of values and masks that are read, over all windows
DECODE_BYTES = 64 << 20  # of one stored block: images of larger ones are not looked at
WINDOWS = 32  # at most: 5 x 5, or 3 x 3 x 3
VOXELS = 200_000


@dataclass(frozen=True)
class Sample:
    """Voxels of an image, evenly thinned. ``values``: ``(n, channels)`` in physical units, float32;
    ``valid``: bool of the same shape; ``edge``: bool ``(n,)``, True on the border of the extent. ``scale`` and
    ``offset``: by which stored numbers became these values; None: they are the stored numbers. ``whole``: it is spread over all of
    the image, without parts that were left out. ``numbers``: of the channels in the file, from 1, where they were chosen.

    No voxels at all: the stored blocks are too large to be looked at.
    """

    values: np.ndarray
    valid: np.ndarray
    edge: np.ndarray
    scale: tuple[float, ...] | None = None
    offset: tuple[float, ...] | None = None
    whole: bool = True
    numbers: tuple[int, ...] = ()

    @classmethod
    def nothing(cls, channels: int) -> Sample:
        none = np.empty((0, channels), np.float32)
        return cls(none, none > 0, np.empty(0, bool))

    def of_channels(self, indices: Sequence[int]) -> Sample:
        """The same of these channels, in this order."""
        at = list(indices)
        scale, offset = (
            None if numbers is None else tuple(numbers[i] for i in at)
            for numbers in (self.scale, self.offset)
        )
        values, valid = self.values[:, at], self.valid[:, at]
        numbers = tuple(i + 1 for i in at)
        return Sample(values, valid, self.edge, scale, offset, self.whole, numbers)

    def channel(self, index: int) -> np.ndarray:
        """The valid values of one channel."""
        values, valid = self.values[:, index], self.valid[:, index]
        return values if valid.all() else values[valid]

    def border(self, index: int) -> np.ndarray:
        """The valid values of one channel on the border of the extent."""
        return self.values[self.edge & self.valid[:, index], index]


def sample(source: Source) -> Sample:
    """A sample of about ``VOXELS`` voxels at most.

    A raster is read from its overviews where it has them. A compressed volume is read from its beginning on,
    without a copy on disk. Others are read whole where they are small, else in up to ``WINDOWS`` windows,
    spread evenly. Unreadable parts are left out; ``ReadError`` where nothing can be read.
    """
    boxes, fault = _boxes(source), None
    parts: list[Sample] = []
    for box in boxes:
        try:
            parts += _parts(source, box, VOXELS // len(boxes))
        except ReadError as error:
            fault = error
    if fault is not None and not parts:
        raise fault
    if not parts:
        return Sample.nothing(len(source.info.channels))
    values, valid, edge = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("values", "valid", "edge")
    )
    return replace(
        parts[0],
        values=values,
        valid=valid,
        edge=edge,
        whole=len(boxes) == 1 and all(part.whole for part in parts),
        numbers=tuple(source.info.bands),
    )


def _boxes(source: Source) -> list[Box]:
    """The windows to read: the whole where it is cheap, none where each stored block is too large."""
    info = source.info
    small = info.voxels * info.voxel_bytes <= READ_BYTES
    if small or _overview(source) or _is_archive(source):
        return [Box.whole(info.extent)]
    # A source may decode several chunks at a time; here it is asked for little more than one.
    chunk_bytes = math.prod(info.chunk) * info.voxel_bytes
    block_bytes = max(1, min(int(info.facts.get("block_bytes", 0)), chunk_bytes))
    if block_bytes > DECODE_BYTES:
        return []
    side = _side(info)
    cut = sum(n > s for n, s in zip(info.extent, side, strict=True))
    most = int(min(WINDOWS, DECODE_BYTES // block_bytes) ** (1 / cut) + 1e-9)
    places = [_places(*axis, most) for axis in zip(info.extent, side, info.chunk, strict=True)]
    return [Box.at(start, side) for start in product(*places)]


def _side(info: SourceInfo) -> Shape:
    """A chunk, or the part of it that fits in the share of one window."""
    side, most = list(info.chunk), READ_BYTES // WINDOWS // info.voxel_bytes
    for axis in range(len(side)):
        rest = math.prod(side) // side[axis]
        side[axis] = max(1, min(side[axis], most // rest))
    return tuple(side)


def _places(extent: int, side: int, chunk: int, most: int) -> list[int]:
    """Up to ``most`` starts along an axis, from border to border; those between at the start of a chunk."""
    count = min(most, -(-extent // side))
    last = extent - side
    whole = chunk if chunk < extent else 1
    if count == 1:
        return [last // 2 // whole * whole]
    inner = [round(last * n / (count - 1)) // whole * whole for n in range(1, count - 1)]
    return sorted({0, *inner, last})


def _is_archive(source: Source) -> bool:
    """Whether each read begins at the first byte of the file."""
    return bool(source.info.facts.get("compressed")) and hasattr(source, "leading")


def _overview(source: Source) -> int:
    """The factor of an overview from which the whole is cheap to read; 0: there is none."""
    info = source.info
    factor = max(info.facts.get("overviews", ()), default=0) if hasattr(source, "reduced") else 0
    return factor if factor and info.voxels // factor**2 * info.voxel_bytes <= READ_BYTES else 0


def _parts(source: Source, box: Box, most: int) -> Iterator[Sample]:
    """About ``most`` voxels of a box at most; none where they can't be read in time."""
    extent = source.info.extent
    if factor := _overview(source):
        small = tuple(-(-n // factor) for n in extent)
        pixels = source.reduced(small)  # type: ignore[attr-defined]
        yield _thinned(pixels, Box.whole(small), small, most)
        return
    if _is_archive(source):
        leading = source.leading(READ_BYTES)  # type: ignore[attr-defined]
        if leading is not None:
            box, pixels = leading
            yield replace(_thinned(pixels, box, extent, most), whole=box.shape == extent)
        return
    try:
        yield _thinned(source.read(box), box, extent, most)
    except ReadError as error:
        yield from _readable(source, box, most, error)


def _readable(source: Source, box: Box, most: int, error: ReadError) -> Iterator[Sample]:
    """The chunks of a box that can be read; the ``error`` where none can."""
    parts = 0
    for chunk in Blocks(source.info.extent, source.info.chunk):
        part = chunk.box.intersection(box)
        if part.size == 0:
            continue
        with suppress(ReadError):
            share = max(1, most * part.size // box.size)
            yield _thinned(source.read(part), part, source.info.extent, share)
            parts += 1
    if not parts:
        raise error


def _thinned(pixels: Pixels, box: Box, extent: Shape, most: int) -> Sample:
    counts = list(box.shape)
    while math.prod(counts) > most and max(counts) > 2:
        longest = counts.index(max(counts))
        counts[longest] = -(-counts[longest] // 2)
    # The border is kept.
    kept = [
        np.linspace(0, n - 1, m).round().astype(int) for n, m in zip(box.shape, counts, strict=True)
    ]
    thin = pixels if tuple(counts) == box.shape else pixels[np.ix_(*kept)]
    edge = np.zeros(thin.values.shape[:-1], bool)
    for axis, (at, start, n) in enumerate(zip(kept, box.start, extent, strict=True)):
        sides = np.isin(at + start, (0, n - 1))
        edge |= sides.reshape(-1, *(1,) * (edge.ndim - 1 - axis))
    channels = thin.values.shape[-1]
    values = thin.physical(np.float32).reshape(-1, channels)
    valid = np.isfinite(values)
    if thin.valid is not None:
        valid &= thin.valid.reshape(-1, channels)
    return Sample(values, valid, edge.ravel(), pixels.scale, pixels.offset)
