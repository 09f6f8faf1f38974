"""A mosaic as a source: boxes are read across files, of which few are open."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.config.image_options.scene import SceneOptions
from seg_batch.core.errors import InputError, ReadError
from seg_batch.core.geometry import Box, Shape
from seg_batch.core.georef import RasterGeoref
from seg_batch.core.normalise import Pixels
from seg_batch.core.privacy.addresses import shown
from seg_batch.io.sources.mosaic.brought import Brought
from seg_batch.io.sources.mosaic.build import build_index, known_index, open_piece
from seg_batch.io.sources.mosaic.handles import Handles
from seg_batch.io.sources.mosaic.index import MosaicIndex, mark_of, read_index, write_index
from seg_batch.io.sources.protocol import AlphaOption, Source, SourceInfo, require_inside


class MosaicSource:
    """``read`` gives ``(*shape, channels)`` in the common dtype. A pixel is that of the first piece that has data there in any
    channel; where none has, it is not valid."""

    def __init__(
        self,
        index: MosaicIndex,
        first: SourceInfo,
        scene: SceneOptions,
        alpha: AlphaOption = "auto",
        channels: tuple[int, ...] = (),
        line: str = "",
    ) -> None:
        """``first``: what is known of the piece that counts first; ``channels``: those that are read; empty: all."""
        whole = index.info_with(first)
        self.index = index
        self.info = whole.of_channels(channels, line) if channels else whole
        self._channels, self._scene, self._alpha, self._first = channels, scene, alpha, first
        self._handles = Handles(self._opened)
        fill = [n if n is not None and np.isfinite(n) else 0 for n in self.info.nodata]
        with np.errstate(invalid="ignore"):  # what the type can't hold is never stored
            self._fill = np.array(fill or [0] * len(self.info.channels)).astype(self.info.dtype)

    def read(self, box: Box) -> Pixels:
        """``ReadError`` naming the piece where one can't be read, is gone, or is another than before."""
        require_inside(self.info, box)
        numbers = self.index.find(box)
        if not numbers:
            return self._nothing(box)
        values = np.empty((*box.shape, len(self.info.channels)), self.info.dtype)
        values[:] = self._fill
        valid, seen = np.zeros(values.shape, bool), np.zeros(box.shape, bool)
        drawn = np.zeros(box.shape, bool)
        for number in numbers:
            part = self.index.box(number).intersection(box)
            here = part.slices(box.start)
            if not seen[here].all():
                pixels = self._piece(number, part)
                _fill(pixels, values[here], valid[here], seen[here], drawn[here])
        return Pixels(values, None if valid.all() else valid, self.info.scale, self.info.offset)

    def known_empty(self, box: Box) -> bool:
        """Whether no piece touches a box, which is known without a look into any."""
        return not self.index.find(box)

    def _nothing(self, box: Box) -> Pixels:
        """No pixel of any piece: arrays that take no memory."""
        shape = (*box.shape, self._fill.size)
        values, valid = np.broadcast_to(self._fill, shape), np.broadcast_to(False, shape)
        return Pixels(values, valid, self.info.scale, self.info.offset)

    def _piece(self, number: int, part: Box) -> Pixels:
        try:
            with self._handles.source(number) as source:
                at = self.index.box(number).start
                return source.read(part.shift(tuple(-n for n in at)))
        except InputError as error:
            raise ReadError(f"{error.message}; it is a piece of the mosaic at {part}") from error

    def _opened(self, number: int) -> Source:
        source: Source = open_piece(self.index.paths[number], self._scene, self._alpha)
        if mark_of(source.info.identity) != self.index.marks[number].tobytes():
            source.close()
            raise InputError(
                f"{source.info.path} changed while it was segmented: run the same command again"
            )
        if self.index.brought[number]:
            georef = self.index.georef
            assert isinstance(georef, RasterGeoref)
            assert self._scene.align is not None
            source = Brought(source, georef, self.index.box(number), self._scene.align)
        return _only(source, self._channels) if self._channels else source

    def reduced(self, shape: Shape) -> Pixels:
        """The whole as ``(*shape, channels)``, for pictures: of each piece as many pixels as its share, from its overviews
        where it has them."""
        from seg_batch.io.sources.mosaic.reduced import reduced

        return reduced(self.index, self.info, self._handles, shape)

    def only(self, indices: Sequence[int], line: str = "") -> MosaicSource:
        """A source that reads these channels only; this one is closed."""
        self.close()
        among = self._channels or tuple(range(len(self.info.channels)))
        chosen = tuple(among[i] for i in indices)
        return MosaicSource(self.index, self._first, self._scene, self._alpha, chosen, line)

    def close(self) -> None:
        self._handles.close()


def open_mosaic(
    paths: Sequence[str],
    staged: Path | None,
    scene: SceneOptions,
    alpha: AlphaOption = "auto",
) -> MosaicSource:
    """The mosaic of the files at ``paths``; ``staged``: the file of its index, of which nothing but the first piece is
    opened, and which names the files where ``paths`` are none."""
    if staged is None:
        index, first = build_index(paths, scene, alpha)
        return MosaicSource(index, first, scene, alpha)
    index = read_index(staged)
    index = index.with_paths(paths) if paths else index
    with closing(open_piece(index.paths[0], scene, alpha)) as source:
        return MosaicSource(index, source.info, scene, alpha)


def stage_mosaic(
    paths: Sequence[str],
    identity: dict[str, Any],
    folder: Path,
    scene: SceneOptions,
    alpha: AlphaOption,
) -> Path:
    """The file of ``index_of``, in ``folder``."""
    return write_index(index_of(paths, identity, scene, alpha), folder)


def index_of(
    paths: Sequence[str], identity: dict[str, Any], scene: SceneOptions, alpha: AlphaOption
) -> MosaicIndex:
    """The index of a mosaic that was opened, in most cases in this process. ``identity``: what it had then; ``InputError`` where it
    has another now."""
    index = known_index(identity["sha256"]) or build_index(paths, scene, alpha)[0]
    if index.identity != identity:
        raise InputError(
            f"a piece of the mosaic of {shown(paths[0])} changed: run the same command again"
        )
    return index.with_paths(paths)


def _fill(
    pixels: Pixels, values: np.ndarray, valid: np.ndarray, seen: np.ndarray, drawn: np.ndarray
) -> None:
    """Add the pixels of a piece: those with data in any channel where none before had any, and what is stored
    elsewhere where nothing was drawn."""
    sure = pixels.valid
    if sure is None and not drawn.any():
        values[:], valid[:], seen[:], drawn[:] = pixels.values, True, True, True
        return
    has_data = np.ones(seen.shape, bool) if sure is None else sure.any(-1)
    new = has_data & ~seen
    bare = new | ~drawn
    values[bare] = pixels.values[bare]
    valid[new] = True if sure is None else sure[new]
    seen |= new
    drawn[:] = True


def _only(source: Source, indices: tuple[int, ...]) -> Source:
    only: Any = getattr(source, "only", None)
    part: Source | None = None if only is None else only(indices)
    return _Chosen(source, indices) if part is None else part


class _Chosen:
    """Channels of a piece that reads all of them at once."""

    def __init__(self, source: Source, indices: tuple[int, ...]) -> None:
        self._source, self._indices = source, indices
        self.info = source.info.of_channels(indices)

    def read(self, box: Box) -> Pixels:
        return self._source.read(box).channels(self._indices)

    def close(self) -> None:
        self._source.close()
