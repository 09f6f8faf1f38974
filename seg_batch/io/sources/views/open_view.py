"""The one door to an image as a model sees it."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from seg_batch.config.card import ModelCard
from seg_batch.core.geometry import Box
from seg_batch.core.normalise import Moments, Normaliser, Pixels
from seg_batch.io.sources import corner_warnings, open_source, pieces
from seg_batch.io.sources.protocol import Source, SourceInfo
from seg_batch.io.sources.views.oriented import Oriented
from seg_batch.io.sources.views.same_grid import grid_differences
from seg_batch.io.sources.views.stacked import Stacked
from seg_batch.io.sources.views.upsampled import upsampled


@dataclass(frozen=True)
class ImageSpec:
    """The files of one image: one, or several whose channels follow one another. ``volume``: which of
    a 4-D file; ``staged``: what ``stage`` returned for each path, where anything was staged."""

    paths: tuple[str, ...]
    volume: int | None = None
    staged: tuple[Path, ...] = ()

    def open(self) -> Source:
        """The image as its files have it. ``InputError`` unless they can be read and share a grid."""
        staged = self.staged or (None,) * len(self.paths)
        with ExitStack() as opened:
            files = [
                opened.enter_context(closing(open_source(path, volume=self.volume, staged=copy)))
                for path, copy in zip(self.paths, staged, strict=True)
            ]
            image = files[0] if len(files) == 1 else Stacked(files)
            opened.pop_all()
        return image


@dataclass(frozen=True)
class Axes:
    """What of a card a view goes by, where there is no card: the orientation of volumes, output voxels
    per input voxel and axis, and along how many axes those are (None: all)."""

    orientation: str = "RAS"
    finer: int = 1
    rank: int | None = None


@dataclass(frozen=True)
class View:
    """An image as a model sees it, and as its files have it; a ``Source`` of the former.

    ``file``: axes, voxels and georeference of the files. ``native``: the axes of the files, the
    voxels of the product. The view itself has the voxels of the product in the axes of the model.
    """

    file: Source
    native: Source
    oriented: Oriented

    @classmethod
    def of(cls, file: Source, card: ModelCard | Axes) -> Self:
        """The view of what is open already; it is closed with the view."""
        native = upsampled(file, card.finer, card.rank, card.orientation)
        return cls(file, native, Oriented(native, card.orientation))

    @property
    def info(self) -> SourceInfo:
        return self.oriented.info

    def read(self, box: Box) -> Pixels:
        """The pixels of a box of the view."""
        return self.oriented.read(box)

    def to_native(self, box: Box) -> Box:
        return self.oriented.to_native(box)

    def to_view(self, box: Box) -> Box:
        return self.oriented.to_view(box)

    def from_view(self, array: np.ndarray) -> np.ndarray:
        """An array over a box of the view as one over the same box of the product; later axes stay."""
        return self.oriented.from_view(array)

    def warnings(self) -> tuple[str, ...]:
        """Traps in the files: those that their headers show, and what four small reads at the corners do."""
        return (*self.file.info.warnings, *corner_warnings(self.file))

    def statistics(self) -> Normaliser:
        """The image's own mean and deviation per channel, from one pass over the files."""
        return Moments.of(pieces(self.file), len(self.file.info.channels)).normaliser()

    def close(self) -> None:
        self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def open_view(
    image: ImageSpec | str | Path, card: ModelCard | Axes, *, grid: SourceInfo | None = None
) -> View:
    """Open an image as the model of ``card`` sees it. The layers, each only where it is needed::

        files      open_source  one for each path
        stacked    Stacked      the channels of several files, one after another
        aligned    aligned      a label on another grid than ``grid``, the file's own of its image
        upsampled  upsampled    the voxels that a super-resolving model makes of the image's
        oriented   Oriented     the axes of the model

    What gives pixels another place or another size is one more layer here. The ``Normaliser`` of the
    card or of the plan comes last, patch by patch. ``InputError`` for what can't be opened as asked.
    """
    spec = image if isinstance(image, ImageSpec) else ImageSpec((str(image),))
    with ExitStack() as opened:
        file = opened.enter_context(closing(spec.open()))
        if grid is not None and grid_differences(grid, file.info):
            from seg_batch.io.sources.views.aligned import align_to_grid

            file = align_to_grid(file, grid)
        view = View.of(file, card)
        opened.pop_all()
    return view
