"""The only place where an image is composed as a model sees it."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from seg_batch.config.card import STORED, ModelCard, Normalisation
from seg_batch.config.card_parts.channels import Channels
from seg_batch.config.card_parts.resampling import AS_NNUNET, Resampling
from seg_batch.config.image_options.grid import AS_STORED, GridOptions
from seg_batch.core.geometry import Box
from seg_batch.core.normalise import Normaliser, Pixels
from seg_batch.core.resample.pasted import WayBack
from seg_batch.io.sources import corner_warnings
from seg_batch.io.sources.protocol import (
    Source,
    SourceInfo,
)
from seg_batch.io.sources.tolerant_read import Reader
from seg_batch.io.sources.views.before_grid.crop import Crop, cropped, nonzero_box
from seg_batch.io.sources.views.before_grid.normalised import Normalised, limits_of
from seg_batch.io.sources.views.before_grid.numbers import image_numbers
from seg_batch.io.sources.views.channels.alpha import (
    require_settled,
)
from seg_batch.io.sources.views.channels.by_name import REMEDY
from seg_batch.io.sources.views.image_spec import ImageSpec
from seg_batch.io.sources.views.joined.lattice import FINEST, OneGrid
from seg_batch.io.sources.views.model_grid import ModelGrid, grid_warnings, model_grid
from seg_batch.io.sources.views.oriented import Oriented
from seg_batch.io.sources.views.resampled import Resampled, on_grid
from seg_batch.io.sources.views.resampled_labels import ResampledLabels
from seg_batch.io.sources.views.same_grid import grid_differences
from seg_batch.io.sources.views.upsampled import at_finer, coarser, finer_by, multiplied, upsampled

_NAME_THEM = "name the recipe's channels as the files do, or the files' as the recipe does"


@dataclass(frozen=True)
class Seen:
    """``window``: pixels of a window as the model sees it; ``inside``: of a box of the product; ``unreadable``: boxes in
    the voxels of the product."""

    window: Pixels
    inside: Pixels
    unreadable: list[Box]


@dataclass(frozen=True)
class Axes:
    """The part of a card that a view depends on, where there is no card: the orientation of volumes,
    output voxels per input voxel and axis, and along how many axes those are (None: all); ``channels``: those of
    the model, if they matter; ``spacing_mm``, ``pixel_m`` and ``resampling``: of its grid; ``crop``: see ``ModelCard``."""

    orientation: str = "RAS"
    finer: int = 1
    rank: int | None = None
    channels: Channels | None = None
    spacing_mm: tuple[float, ...] | None = None
    pixel_m: float | None = None
    resampling: Resampling = AS_NNUNET
    crop: str = "none"


class View(Oriented):
    """An image as a model sees it, and as its files have it; a ``Source`` with the voxels of the product in the axes of the
    model.

    ``file``: axes, voxels and georeference of the files. ``native``: the axes of the files, the voxels of the product.
    ``finer``: voxels of the product for each of the image, where the model makes more, per axis in its axes.
    ``model``: what the model sees, which is the view itself unless it works on another ``grid``. ``way_back``: from the
    voxels of ``model`` to those of the view; None where they are the same. ``crop``: the part of ``coarse`` that the model
    sees, of size 0 where there is none to see; None: all.
    """

    def __init__(
        self,
        file: Source,
        card: ModelCard | Axes,
        options: GridOptions = AS_STORED,
        labels_on: ModelGrid | None = None,
        crop: Crop = None,
    ) -> None:
        """The view of an open image, which is closed with the view. ``labels_on``: it is of labels, which come to this
        grid. ``crop``: where the card has one."""
        self.file, self.options = file, options
        self._turned = Oriented(file, card.orientation)
        self.crop = None
        if card.crop != "none" and crop is not None:
            self.crop = nonzero_box(self._turned) if crop == "find" else crop
        self.grid = labels_on or model_grid(self._turned.info, card, options, self.crop)
        self._part = seen = self._turned if self.grid is None else cropped(self._turned, self.grid)
        if self.grid is not None and (labels_on or self.grid.resampled):
            layer = Resampled if labels_on is None else ResampledLabels
            seen = layer(seen, self.grid)
        self._normalised: Normalised | None = None
        on_model = self.grid is not None and self.grid.output == "model"
        orientation = STORED if on_model else card.orientation  # what the model sees is turned
        self.native = upsampled(seen if on_model else file, card.finer, card.rank, orientation)
        super().__init__(self.native, orientation)
        self.model: Source = self
        self.way_back: WayBack | None = None
        self.finer = finer_by(len(self.info.extent), card.finer, card.rank)
        if self.grid is not None and not on_model:
            self.model = upsampled(seen, card.finer, card.rank, STORED)
            self.way_back = self.grid.probabilities(self.finer)

    @property
    def decided(self) -> Box | None:
        """The voxels of the view that the model has a say in; None: all."""
        return None if self.crop is None or self.way_back is None else self.way_back.place

    @property
    def coarse(self) -> SourceInfo:
        """The image in the axes of the model, with the voxels of its files."""
        return self._turned.info

    @property
    def as_stored(self) -> Source:
        """What ``coarse`` is of: not resampled; the view itself where nothing is."""
        return self if self.info.extent == self.coarse.extent else self._turned

    def touched(self, box: Box) -> Box:
        """The voxels of ``as_stored`` that a box of the view lies in, each at least in part."""
        box = coarser(box, self.finer)
        if self.grid is None or self.grid.output == "native":
            return box  # the view has the voxels of the image
        axes = zip(box.start, box.stop, self.grid.source, self.grid.target, strict=True)
        ends = [(a * n // m, -(-b * n // m)) for a, b, n, m in axes]
        return Box(tuple(a for a, _ in ends), tuple(b for _, b in ends))

    def in_model(self, box: Box) -> Box:
        """What the model has to say for a box of the view: a box of ``model``."""
        return box if self.way_back is None else self.way_back.needed(box)

    def read_with(self, window: Box, box: Box, read: Reader) -> Seen:
        """The pixels of a window of ``model`` and those of a box of the view, from one ``read`` of the image. Without
        a grid of the model's own the window holds the box."""
        if self.grid is None or self.way_back is None:
            held, holes = read(self, window)
            return Seen(held, held[box.slices(window.start)], holes)
        coarse, inner = (coarser(part, self.finer) for part in (window, box))
        needed = inner
        if coarse.size:
            needed = self.grid.values.needed(coarse).shift(self.grid.part.start).union(inner)
        held, holes = read(self._turned, needed)
        on_model = held
        if coarse.size:
            at = needed.shift(tuple(-n for n in self.grid.part.start))
            on_model = on_grid(held, self.grid, at, coarse, self._normalised)
        inside = at_finer(held[inner.slices(needed.start)], inner, box, self.finer)
        return Seen(
            at_finer(on_model, coarse, window, self.finer) if coarse.size else on_model,
            inside,
            [multiplied(hole, self.finer) for hole in holes],
        )

    def warnings(self) -> tuple[str, ...]:
        """Warnings about the files, from their headers and from four small reads at the corners."""
        warnings = (*self.file.info.warnings, *corner_warnings(self.file))
        return (*warnings, *grid_warnings(self.coarse, self.grid))

    def statistics(self, kind: str = "source") -> Normaliser:
        """The image's own numbers by this scheme of ``core.statistics``, from one pass."""
        return self.numbers(Normalisation.model_construct(kind=kind, kinds=()))

    def numbers(self, rule: Normalisation) -> Normaliser:
        """Those of the card, or the image's own: of the files as they are, or of what a model that sees a crop sees of them."""
        return image_numbers(self.file if self.crop is None else self._part, rule)

    def normalised_first(
        self, normaliser: Normaliser, limits: np.ndarray | None = None
    ) -> Normaliser:
        """What is left to do to a window of ``read_with`` from now on: nothing where the card normalises before it
        resamples. ``limits``: of ``Normalised``; None: measured where they are needed."""
        if self.grid is None or not self.grid.normalised:
            return normaliser
        limits = self.limits(normaliser) if limits is None else limits
        self._normalised = Normalised(normaliser, limits)
        return self._normalised.rest

    def limits(self, normaliser: Normaliser) -> np.ndarray | None:
        """What values keep to that are normalised before they are resampled, from one pass; None where it needs none."""
        normalised = self.grid is not None and self.grid.normalised
        return limits_of(self._part, self.grid, normaliser) if self.grid and normalised else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _opened(spec: ImageSpec, card: ModelCard | Axes, remedy: str) -> Source:
    """The image with the channels of the card; of files with unequal pixels, on the grid that suits its model."""
    file = spec.open_for(card.channels, remedy)
    if "stack_grid" not in file.info.composed or spec.one_grid != FINEST:
        return file
    with closing(file):
        settled = replace(spec, one_grid=OneGrid.of(file.info, card, spec.grid))
    return settled.open_for(card.channels, remedy)


def open_view(
    image: ImageSpec | str | Path | Source,
    card: ModelCard | Axes,
    *,
    grid: SourceInfo | None = None,
    labels_of: View | None = None,
) -> View:
    """Open an image as the model of ``card`` sees it. The layers, each only where it is needed::

        files      open_source  one for each path, its alpha read as the channels of the card say
        stacked    Stacked      the channels of several files, one after another
        joined     Joined       the same where pixels are unequal, on the grid of one of them (``ImageSpec.one_grid``)
        masked     Masked       without data where bands say so, by ``--mask-from``
        selected   selected     of these the model's, by ``--bands`` or by their names
        rescaled   rescaled     the scale and offset of ``--scale`` and ``--offset``
        aligned    aligned      a label on another grid than ``grid``, the file's own of its image
        oriented   Oriented     the axes of the model
        cropped    Cropped      the part of the image that the model sees
        resampled  Resampled    the grid of the model, by ``ImageSpec.grid`` and the card; of labels
                                ResampledLabels, onto the grid of the image whose ``labels_of`` they are
        upsampled  upsampled    the voxels that a super-resolving model makes of the image's

    Anything that gives pixels another place or another size is one more layer here. The ``Normaliser`` of
    the card or of the plan comes last, patch by patch. A ``Source`` is that of labels drawn on the grid of the image's files. ``InputError`` where the image can't be opened.
    """
    if not isinstance(image, ImageSpec | str | Path):
        return _of_labels(image, card, labels_of)
    spec = image if isinstance(image, ImageSpec) else ImageSpec((str(image),))
    remedy = REMEDY if isinstance(card, ModelCard) else _NAME_THEM
    with ExitStack() as opened:
        file = opened.enter_context(closing(_opened(spec, card, remedy)))
        if card.channels is None and isinstance(card, ModelCard):
            require_settled(file.info)
        if grid is not None and grid_differences(grid, file.info):
            from seg_batch.io.sources.views.aligned import align_to_grid

            file = align_to_grid(file, grid)
        view = View(file, card, spec.grid, crop=spec.crop)
        if labels_of is not None and labels_of.grid and view.info.extent == labels_of.grid.source:
            view = View(file, card, labels_on=labels_of.grid)
        opened.pop_all()
    return view


def _of_labels(file: Source, card: ModelCard | Axes, labels_of: View | None) -> View:
    """The view of labels on the grid of the files of an image."""
    if labels_of is not None and labels_of.grid:
        return View(file, card, labels_on=labels_of.grid)
    return View(file, card)
