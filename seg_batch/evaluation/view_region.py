"""Regions of images that are read from their files, on the grid of these files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from seg_batch.config.card import ModelCard
from seg_batch.config.image_options.grid import GridOptions
from seg_batch.config.predict_options import ModelOptions
from seg_batch.config.recipe.hold_out import PARTS
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box, Shape
from seg_batch.core.normalise import Normaliser, Pixels
from seg_batch.core.resample.pasted import WayBack
from seg_batch.datasets.label_classes import Classes
from seg_batch.datasets.pairs import Pair
from seg_batch.datasets.split import BOXES_ON_MODEL
from seg_batch.inference import bundles
from seg_batch.io.sources.areas.pixel_areas import PixelAreas
from seg_batch.io.sources.protocol import SourceInfo, without_volume_option
from seg_batch.io.sources.tolerant_read import read_strictly
from seg_batch.io.sources.views.image_spec import ImageSpec, takes_last_axis
from seg_batch.io.sources.views.model_grid import model_grid
from seg_batch.io.sources.views.open_view import Seen, View, open_view
from seg_batch.io.sources.views.same_grid import grid_differences
from seg_batch.io.vectors.labels import VectorLabelSource, is_vector


@dataclass(frozen=True, eq=False)
class ViewRegion:
    """A ``SeenRegion`` read from the image's files."""

    box: Box
    image: View
    normaliser: Normaliser

    @property
    def extent(self) -> Shape:
        return self.image.info.extent

    @property
    def areas(self) -> PixelAreas | None:
        """Of the pixels of the whole image."""
        return PixelAreas.of(self.image.native.info.georef, self.extent)

    @property
    def way_back(self) -> WayBack | None:
        return self.image.way_back

    @property
    def decided(self) -> Box | None:
        return self.image.decided

    @cached_property
    def rest(self) -> Normaliser:
        """What is left to do to a window of ``read_with``."""
        return self.image.normalised_first(self.normaliser)

    def read(self, box: Box) -> Pixels:
        return self.image.read(box)

    def read_with(self, window: Box, box: Box) -> Seen:
        return self.image.read_with(window, box, read_strictly)


@dataclass(frozen=True, eq=False)
class SourceRegion(ViewRegion):
    """A ``Region`` of a pair of files: a case of a manifest, or a box of it, with its label."""

    case: str
    label: View
    classes: Classes
    ignore: tuple[float, ...]
    missing: str = "all"

    def truth(self, box: Box) -> tuple[np.ndarray, np.ndarray]:
        labels, path = self.label.read(box), self.label.info.path
        indices, valid = self.classes.indices(labels, self.ignore, path)
        return indices, valid & self.read(box).with_data(self.missing)


def held_boxes(
    card: ModelCard, case: str, parts: tuple[str, ...] = ("validation", "test")
) -> Iterator[Box]:
    """The boxes that were held out of a case when the bundle was trained."""
    boxes = card.split.get("boxes", {}).get(case, {})
    return (Box(tuple(start), tuple(stop)) for part in parts for start, stop in boxes.get(part, []))


def in_file(box: Box, case: str, info: SourceInfo, card: ModelCard) -> Box:
    """The voxels of a file, in the card's axes, that lie wholly in a box of the card, on whatever grid the model is to
    see it now. InputError where the file is not of that size."""
    grid = None
    if card.split.get("grid") == BOXES_ON_MODEL:
        grid = model_grid(info, card, GridOptions())
    extent = info.extent if grid is None else grid.target
    if not Box.whole(extent).contains(box):
        raise InputError(
            f"{card.name} held voxels {box} of {case} out, which {info.path} with extent "
            f"{extent} does not have: is it another image of that name?"
        )
    return box if grid is None else grid.inside(box)


@contextmanager
def open_entry(pair: Pair, card: ModelCard, options: ModelOptions) -> Iterator[tuple[View, View]]:
    """Image and label in the card's orientation, checked against it and each other. ``options``: how the image is
    read."""
    spec = ImageSpec(
        pair.images,
        alpha=(pair.alpha,) * len(pair.images),
        channels_last_axis=takes_last_axis(card.channels),
        bands=tuple(map(str, options.bands or ())),
        scale=options.scale,
        offset=options.offset,
        grid=GridOptions(options.resample, options.spacing),
        crop="find",
    )
    with without_volume_option(), open_view(spec, card) as image:
        a = image.file.info
        bundles.require_fit(bundles.Model(card), a)
        with open_view(_drawn(pair, image, card) or pair.label, card) as label:
            b = label.file.info
            if len(b.channels) != 1:
                raise InputError(f"{b.path} has {len(b.channels)} channels, a label image has one")
            if differs := grid_differences(a, b):
                raise InputError(
                    f"{b.path} is not on the grid of {a.path} ({'; '.join(differs)}), so "
                    "voxels would be compared with others: resample the label first"
                )
            yield image, label


def _drawn(pair: Pair, image: View, card: ModelCard) -> VectorLabelSource | None:
    """Labels of a vector file, of which no feature is scored that training has seen most of."""
    if not is_vector(pair.label):
        return None
    held = (
        (part, in_file(box, pair.case, image.coarse, card))
        for part in PARTS[1:]
        for box in held_boxes(card, pair.case, (part,))
    )
    rules = replace(pair.rules, held=tuple(held))
    return VectorLabelSource(pair.label, image.file.info, rules)


def whole_region(image: View, card: ModelCard) -> ViewRegion:
    """All of an image, by the numbers of the card, else by its own."""
    return ViewRegion(Box.whole(image.info.extent), image, image.numbers(card.normalisation))
