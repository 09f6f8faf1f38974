"""Several files seen as one image, of which some have larger pixels than others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from seg_batch.core.georef import RasterGeoref
from seg_batch.io.sources.protocol import Source, SourceInfo
from seg_batch.io.sources.views.joined.lattice import (
    FINEST,
    OneGrid,
    lattice_of,
    of_unequal_pixels,
)
from seg_batch.io.sources.views.joined.placed import Placed
from seg_batch.io.sources.views.resampled import PART_BYTES
from seg_batch.io.sources.views.stacked import Stacked, only_of, quality_of

Quality = Callable[[str], Source | None]
Told = Callable[[SourceInfo, tuple[str, ...]], SourceInfo]
_OF_GRID = ("extent", "chunk", "dtype", "georef", "facts", "composed")
_SHOWN = 12


def stacked(files: Sequence[Source], want: OneGrid = FINEST) -> Source:
    """The files as one image, on one grid. ``InputError`` naming what differs, where they show different places."""
    unequal = of_unequal_pixels([file.info for file in files])
    chosen_anew = any(hasattr(file, "at") for file in files)  # by the channels that are read
    return Joined(files, want) if unequal or chosen_anew else Stacked(files)


def as_wanted(source: Source, want: OneGrid) -> Source:
    """A source that is made of unequal pixels itself, on this grid; any other as it is."""
    at: Any = getattr(source, "at", None)
    return source if at is None else at(want)


def as_it_is(info: SourceInfo, lines: tuple[str, ...]) -> SourceInfo:
    """What is known of a stack, with the lines that tell of its grid."""
    return replace(info, warnings=(*info.warnings, *lines))


class Joined(Stacked):
    """``Stacked`` where each file comes to the grid of one of them, by ``want``. Of those that are read alone, with
    ``only``, the grid is decided again: channels of 20 m alone stay what they are."""

    def __init__(
        self,
        files: Sequence[Source],
        want: OneGrid = FINEST,
        told: Told = as_it_is,
        quality: Quality | None = None,
    ) -> None:
        """``InputError`` where a file has no place on the grid. ``told``: of what is known of all and of lines about the
        grid, what is to be told. ``quality``: opens the band of quality of a name, where there are any beside the files."""
        self._native, self._want, self._told = tuple(files), want, told
        self._quality = quality
        infos = [file.info for file in files]
        lattice = lattice_of(infos, want)
        parts = [
            Placed(file, lattice, want) if of_unequal_pixels([file.info, lattice]) else file
            for file in files
        ]
        super().__init__(parts)
        stack = tuple({info.path: info for info in infos}.values())
        facts = {**self.info.facts, "held_bytes": max(part.info.voxel_bytes for part in parts)}
        # One file after the other is read, and decoders of JPEG 2000 keep what they decoded last.
        decoded = sum(int(info.facts.get("block_bytes", 0)) for info in infos)
        facts["block_bytes"] = decoded + 2 * PART_BYTES
        info = replace(self.info, stack=stack, chunk=lattice.chunk, facts=facts)
        self._lines = tuple(_lines(infos, lattice, parts))
        if of_unequal_pixels(infos):
            composed = {"stack_grid": want.to_json(lattice)}
            info = replace(info, composed=composed, georef=lattice.georef)
        self.info = told(info, self._lines)

    def at(self, want: OneGrid) -> Joined:
        """The same by another wish; used from then on in place of this."""
        if want == self._want:
            return self
        files = [as_wanted(file, want) for file in self._native]
        return Joined(files, want, self._told, self._quality)

    def only(self, indices: Sequence[int], line: str = "") -> Joined | None:
        """The stack that reads these channels only; None where their order mixes channels of files."""
        parts = only_of(self._native, indices)
        if parts is None:
            return None
        whole = self.info.of_channels(indices, line)
        kept = tuple(text for text in whole.warnings if text not in self._lines)

        def told(info: SourceInfo, lines: tuple[str, ...]) -> SourceInfo:
            fresh = {name: getattr(info, name) for name in _OF_GRID}
            fresh["facts"] = {**whole.facts, **info.facts}
            return replace(whole, **fresh, warnings=(*kept, *lines))

        return Joined(parts, self._want, told, self._quality)

    def quality(self, name: str) -> Source | None:
        own = None if self._quality is None else self._quality(name)
        return own or quality_of(self._native, name)

    def close(self) -> None:
        for file in self._native:
            file.close()


def _lines(infos: Sequence[SourceInfo], lattice: SourceInfo, parts: Sequence[Source]) -> list[str]:
    """Which channels come to another grid, and which files have no pixels in a part of it."""
    moved, partly = dict[str, list[str]](), list[str]()
    for info, part in zip(infos, parts, strict=True):
        if isinstance(part, Placed):
            moved.setdefault(_size(info), []).extend(_names(info))
            partly += [] if part.covers else _names(info)
    lines = [
        f"{_listed(names)}, of pixels of {size}, come to the grid of {_size(lattice)}"
        for size, names in moved.items()
    ]
    if partly:
        lines.append(f"{_listed(partly)} covers a part of the image, and has no data beyond it")
    return lines


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + ", ..." * (len(names) > _SHOWN)


def _names(info: SourceInfo) -> Sequence[str]:
    """What the channels of a file are called; that of one without a name, as the file is."""
    unnamed = info.channels == ("band1",)
    return [info.path.rsplit("/", 1)[-1]] if unnamed else info.channels


def _size(info: SourceInfo) -> str:
    assert isinstance(info.georef, RasterGeoref)
    metres = info.georef.metres_per_unit
    unit = "units of the CRS" if metres is None else "m"
    sides = [f"{side * (metres or 1):.4g}" for side in info.georef.spacing]
    return f"{' x '.join(dict.fromkeys(sides))} {unit}"
