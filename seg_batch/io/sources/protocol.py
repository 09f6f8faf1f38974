"""The interface of every source: facts for planning without reading pixels, and one way to read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from seg_batch.core.errors import STUMBLES, InputError, ReadError
from seg_batch.core.geometry import Box, Shape
from seg_batch.core.georef import Georef
from seg_batch.core.normalise import Pixels
from seg_batch.io.sources.naming.channel_names import ChannelNames

# The largest piece a library may decode at once: it is allocated whole, whatever the box asks for.
BLOCK_LIMIT_BYTES = 2 << 30


AlphaReading = Literal["data", "mask"]
AlphaOption = AlphaReading | Literal["auto"]


@dataclass(frozen=True)
class AlphaBands:
    """Bands that a file marks as alpha. ``reading``: ``data`` (channels) or ``mask``.

    ``marks``: the reading that the file itself decides, empty where it leaves it open. ``fixed``: the number of
    channels of a model does not change the reading. ``otherwise``: how many channels the other one gives.
    ``indices``: of these bands among the channels, where they are data.
    """

    names: tuple[str, ...]
    reading: AlphaReading
    marks: AlphaReading | Literal[""]
    fixed: bool
    otherwise: int
    indices: tuple[int, ...] = ()

    @property
    def open(self) -> bool:
        """Whether neither the file nor an option says what they are."""
        return not self.fixed and not self.marks

    @property
    def other(self) -> AlphaReading:
        """The reading that was not taken."""
        return "mask" if self.reading == "data" else "data"

    def __str__(self) -> str:
        return f"{' and '.join(self.names)}, marked as alpha,"


@dataclass(frozen=True)
class SourceInfo:
    """What is known of an input without reading its pixels.

    ``kind``: ``raster`` (extent ``y, x``) or ``volume`` (extent ``z, y, x``). ``dtype``: of what
    ``read`` returns, in native byte order. ``chunk``: a box shape that is cheap to read.
    ``nodata``: the stored value that means "nothing here", per channel, or None. ``identity``:
    what a resumed run compares, so that a changed input is noticed (size, modification time,
    digest of head and tail). ``warnings``: one sentence each. ``facts``: further values for
    ``inspect``; of these ``block_bytes`` counts in the memory of a reader: the bytes allocated
    besides the box itself while one stored block is decoded, and ``held_bytes`` per voxel that are read besides.
    ``alpha``: the bands marked as alpha, if any. ``stack``: each file of an image that several make up, which
    ``path`` names all. ``names``: what the file says of each channel, empty where it says nothing. ``scale`` and
    ``offset``: as in ``Pixels``. ``taken``: where channels were chosen, their indices among all of the files.
    ``rescaled``: scale and offset are others than the file's own. ``resampled_from``: the extent of the files, where it
    lies on another grid than they. ``series``: the key of the one that it is, where a place holds several. ``composed``: how its channels came
    together, where that is more than one beside another, as a run has to find it again: ``stack_grid``, ``mask_from``. ``pieces``: the paths of
    the pieces of a mosaic, as they were named.
    """

    path: str
    format: str
    kind: str
    extent: Shape
    channels: tuple[str, ...]
    dtype: str
    georef: Georef
    chunk: Shape
    nodata: tuple[float | None, ...] = ()
    identity: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    alpha: AlphaBands | None = None
    stack: tuple[SourceInfo, ...] = ()
    names: tuple[ChannelNames, ...] = ()
    scale: tuple[float, ...] | None = None
    offset: tuple[float, ...] | None = None
    taken: tuple[int, ...] = ()
    rescaled: bool = False
    resampled_from: Shape = ()
    series: str = ""
    composed: dict[str, Any] = field(default_factory=dict)
    pieces: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """Of all files that were named: those of ``files``, or the pieces of a mosaic."""
        return self.pieces or tuple(file.path for file in self.files)

    @property
    def files(self) -> tuple[SourceInfo, ...]:
        """Each file of the image."""
        return self.stack or (self,)

    @property
    def voxel_bytes(self) -> int:
        """Bytes per voxel of what ``read`` holds at most: values and mask of all channels, and of a stack
        those of the file that is being read."""
        mine = len(self.channels) * (np.dtype(self.dtype).itemsize + 1)
        held = int(self.facts.get("held_bytes", 0))
        return mine + held + max((file.voxel_bytes for file in self.stack), default=0)

    @property
    def bands(self) -> list[int]:
        """The numbers from 1 of the channels that were chosen; empty where all are as they are."""
        return [index + 1 for index in self.taken]

    def of_channels(self, indices: Sequence[int], line: str = "") -> SourceInfo:
        """The same of these channels, in this order, which is then that of a model: no name is left to go by.
        ``line``: a further warning."""

        def those[T](values: tuple[T, ...]) -> tuple[T, ...]:
            return tuple(values[i] for i in indices) if values else ()

        straight = tuple(indices) == tuple(range(len(self.channels)))
        return replace(
            self,
            channels=those(self.channels),
            nodata=those(self.nodata),
            names=(),
            scale=self.scale and those(self.scale),
            offset=self.offset and those(self.offset),
            alpha=None if self.alpha is None else replace(self.alpha, fixed=True, otherwise=0),
            taken=those(self.taken) if self.taken else () if straight else tuple(indices),
            warnings=(*self.warnings, line) if line else self.warnings,
        )

    @property
    def voxels(self) -> int:
        return math.prod(self.extent)


@runtime_checkable
class Source(Protocol):
    """An image that is read box by box. Opened anew in every process; cheap to open; closed after use.

    ``read(box)`` returns exactly the box as :class:`Pixels`. It raises ``ValueError`` for a box
    outside the extent, and ``ReadError`` naming the file and the box where the
    file can't be read. It may be called from several threads at once.
    """

    @property
    def info(self) -> SourceInfo: ...

    def read(self, box: Box) -> Pixels: ...

    def close(self) -> None: ...


def known_empty(source: Source, box: Box) -> bool:
    """True where the index of the files says, without a read, that no voxel of the box has a valid channel; False says
    nothing. Sources that have such an index have a method of this name."""
    known = getattr(source, "known_empty", None)
    return known is not None and bool(known(box))


def require_inside(info: SourceInfo, box: Box) -> None:
    """``ValueError`` unless ``box`` is not empty and lies inside the extent."""
    inside = len(box.start) == len(info.extent) and Box.whole(info.extent).contains(box)
    if not inside or box.size == 0:
        raise ValueError(f"box {box} is empty or not inside the extent {info.extent}")


class SeveralVolumesError(InputError):
    """A file holds several volumes (``count``), and none was chosen. ``remedy``: for a command that can't
    choose."""

    remedy = ""
    count = 0


def chosen_volume(path: Path, what: str, count: int, volume: int | None) -> int:
    """The index of the volume to read, one of ``count``; ``what`` names them all. ``SeveralVolumesError``
    where several are there and none was chosen, ``InputError`` where the chosen one is not."""
    if volume is None and count > 1:
        error = SeveralVolumesError(
            f"{path}: {what}; choose one with --volume K (0 to {count - 1}), in a workflow with "
            "inputs.volume, or take them as channels with --channels-last-axis"
        )
        error.count = count
        error.remedy = (
            f"{path}: {what}, where one is read; give a file that holds that one alone, or name "
            f"{count} channels if they are that"
        )
        raise error
    if volume is not None and not 0 <= volume < count:
        raise InputError(f"{path}: there is no volume {volume}; it holds {count}, counted from 0")
    return volume or 0


@contextmanager
def without_volume_option() -> Iterator[None]:
    """For what can't choose a volume: the error for several of them names another remedy."""
    try:
        yield
    except SeveralVolumesError as error:
        raise InputError(error.remedy) from None


def one_line(error: BaseException) -> str:
    """The innermost reason of an error, without line breaks."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__


def remedy_of(error: OSError) -> str:
    """What to do where the system does not let a file be read."""
    if error.errno in STUMBLES:
        return "check the disk or the network mount that it lies on"
    if isinstance(error, PermissionError):
        return "check its permissions"
    return "check the path"


def read_error(info: SourceInfo, box: Box, error: BaseException) -> ReadError:
    """The error for a box, with the words of ``error`` and a remedy that fits them."""
    damaged = " or ".join(["the file", *info.facts.get("masks", ())])
    remedy = f"if its disk is well, {damaged} is damaged there; restore it from its origin"
    if isinstance(error, OSError) and error.errno is not None:
        remedy = remedy_of(error)
    elif isinstance(error, MemoryError):
        remedy = "there is too little memory for it; use fewer --workers"
    return ReadError(f"{info.path}: the box {box} can't be read ({one_line(error)}): {remedy}")
