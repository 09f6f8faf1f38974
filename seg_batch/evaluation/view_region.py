"""Regions of images that are read from their files, on the grid of these files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from seg_batch.core.geometry import Box, Shape
from seg_batch.core.normalise import Normaliser, Pixels
from seg_batch.core.resample.pasted import WayBack
from seg_batch.datasets.label_classes import Classes
from seg_batch.io.sources.areas.pixel_areas import PixelAreas
from seg_batch.io.sources.tolerant_read import read_strictly
from seg_batch.io.sources.views.open_view import Seen, View


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
