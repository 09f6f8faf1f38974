"""Quicklooks: small pictures of an image and its labels, from a bounded part of the files.

A raster is shown whole. A volume is shown by three slices through the median voxel of its labels (without labels,
through its own middle), as a PACS shows them: the axial slice from the feet, the coronal one from the front, the sagittal
one from the patient's left. Pictures have the proportions of the world.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import hypot

import numpy as np

from seg_batch.config.common_names import names_at
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box, Shape
from seg_batch.core.georef import RasterGeoref
from seg_batch.core.normalise import Pixels
from seg_batch.core.units import show_bytes
from seg_batch.io.pictures import (
    PLANES,
    UPRIGHT,
    Composite,
    Window,
    bands_shown,
    coloured,
    middle,
    planes,
    stretch,
)
from seg_batch.io.sources.naming.channel_names import ChannelNames
from seg_batch.io.sources.protocol import Source, SourceInfo
from seg_batch.io.sources.thumbnail import thumbnail
from seg_batch.io.sources.views.image_spec import ImageSpec
from seg_batch.io.sources.views.open_view import Axes, View, open_view

LONGEST = {2: 448, 3: 256}  # voxels per side of a picture, by rank
SAMPLED = 96  # the same, of what a window is measured on
LARGEST_VOXELS = 1 << 27  # of a file without overviews, which must be read whole
SIDE = (64, 512, 512)  # of the blocks in which labels are read for the middle of a volume

# The radiological convention: the patient's right is on the left, and of sagittal slices the front.
SEEN = "LAS"  # to where x, y, z run; ``pictures.UPRIGHT`` turns the planes of such a view
LETTERS = ("RLAP", "RLSI", "APSI")  # at the left, right, top and bottom of each plane

# The windows that pictures share, by the words and the number of the channels of their composite.
Windows = Mapping[tuple[str, int], Window]
# Opaque RGBA colours of the classes that are drawn, by label.
Palette = Mapping[int, tuple[int, ...]]


@dataclass(frozen=True)
class Plane:
    """One picture, upright. ``image``: ``(y, x, 3)`` uint8; ``labels``: ``(y, x, 4)``, clear where there is none; each may
    be None. ``aspect`` (width / height) and ``width`` (mm) are those of the world; ``letters``: left, right, above,
    below, empty where the file does not know; ``window``: the values shown, in words."""

    title: str
    image: np.ndarray | None
    labels: np.ndarray | None
    aspect: float
    width: float = 1.0
    letters: str = ""
    window: str = ""


def seen(source: Source) -> View:
    """An open image as it is looked at, which is closed with the view."""
    return View(source, Axes(SEEN))


def open_seen(image: ImageSpec, opened: ExitStack, *, any_size: bool = False) -> Source:
    """The image as it is looked at, closed with ``opened``. ``InputError`` for a file too large to be read, unless
    it may have ``any_size`` and take its time."""
    view = opened.enter_context(open_view(image, Axes(SEEN)))
    info = view.file.info
    if not any_size and info.voxels > LARGEST_VOXELS and not info.facts.get("overviews"):
        size = show_bytes(info.voxels * info.voxel_bytes)
        raise InputError(f"{size} without overviews are too much to read for a picture")
    return view.native if view.identity else view  # the native source has overviews


def draw_planes(
    pictured: Source | None,
    labelled: Source | None,
    palette: Palette,
    channels: Sequence[str] = (),
    windows: Windows | None = None,
    longest: int = 0,
) -> tuple[Plane, ...]:
    """The planes of an image and its labels, of which one may be missing; both from ``open_seen``. ``channels``: what the
    model calls them; ``windows``: those to show the image by, else its own. ``longest``: voxels per side, by default of a
    small picture."""
    first = pictured or labelled
    if first is None:
        return ()
    shares = _middle(first.info.extent, labelled, palette)
    axes = [axis for axis, _ in _planes(first.info.extent, shares)]
    images: list[np.ndarray | None] = [None] * len(axes)
    maps, window = images, ""
    if pictured is not None:
        composite = composite_of(pictured.info, channels)
        shared = (windows or {}).get((composite.words, len(composite.channels)))
        drawn, words = stretch(_small(pictured, shares, longest), composite, shared)
        images, window = [*drawn], ": ".join(filter(None, (composite.words, words)))
    if labelled is not None:
        clear = (0, 0, 0, 0)  # also where there is no label
        small = _small(labelled, shares, longest)
        maps = [coloured(p.values[..., 0], p.any_valid(), palette, clear) for p in small]
    return tuple(
        _plane(first.info, axis, shares, image, labels, window)
        for axis, image, labels in zip(axes, images, maps, strict=True)
    )


def sample(pictured: Source, channels: Sequence[str] = ()) -> tuple[Composite, list[Pixels]]:
    """How an image is shown, and a few of the pixels that are shown of it."""
    composite = composite_of(pictured.info, channels)
    small = _small(pictured, (0.5,) * len(pictured.info.extent), SAMPLED)
    return composite, [bands_shown(pixels, composite) for pixels in small]


def composite_of(info: SourceInfo, channels: Sequence[str]) -> Composite:
    """By what the file calls its channels, else by what the model does, else by what writers put into files
    unasked, else by their place."""
    said = info.names or (ChannelNames(),) * len(info.channels)
    own = [
        (name, *each.names, *names_at(each.wavelength_um or 0.0))
        for name, each in zip(info.channels, said, strict=True)
    ]
    models = [(name,) for name in channels]
    return Composite.of(len(own), own, models, [each.weak for each in said])


def _plane(
    info: SourceInfo,
    axis: int | None,
    shares: tuple[float, ...],
    image: np.ndarray | None,
    labels: np.ndarray | None,
    window: str,
) -> Plane:
    georef = info.georef
    if axis is None or isinstance(georef, RasterGeoref):
        return Plane("", image, labels, _raster_aspect(info), window=window)
    sides = [n * s for n, s in zip(info.extent, georef.spacing, strict=True)]
    height, width = (side for k, side in enumerate(sides) if k != axis)
    at = int(shares[axis] * info.extent[axis])
    if PLANES[axis] == "sagittal":  # counted as the others are: from the feet, the back, the left
        at = info.extent[axis] - 1 - at
    title = f"{PLANES[axis]}, slice {at + 1} of {info.extent[axis]}"
    placed = georef.sform_code > 0 or georef.qform_code > 0
    letters = LETTERS[axis] if placed else ""
    return Plane(title, image, labels, width / height, width, letters, window)


def _raster_aspect(info: SourceInfo) -> float:
    """Width / height on the ground; square pixels where control points replace the transform."""
    a, b, _, d, e, _ = info.georef.transform  # type: ignore[union-attr]
    height, width = info.extent
    return width * (hypot(a, d) or 1.0) / (height * (hypot(b, e) or 1.0))


def _planes(extent: Shape, shares: tuple[float, ...]) -> list[tuple[int | None, Box]]:
    places = tuple(min(n - 1, int(share * n)) for n, share in zip(extent, shares, strict=True))
    return planes(Box.whole(extent), places)


def _small(source: Source, shares: tuple[float, ...], longest: int = 0) -> list[Pixels]:
    """The raster, or each plane of the volume, reduced to the size of a picture (or to ``longest`` voxels) and
    upright."""
    out = []
    for axis, box in _planes(source.info.extent, shares):
        factor = max(1.0, max(box.shape) / (longest or LONGEST[len(box.shape)]))
        shape = tuple(max(1, round(n / factor)) for n in box.shape)
        out.append(thumbnail(source, box, shape)[UPRIGHT[axis]])
    return out


def _middle(extent: Shape, labelled: Source | None, palette: Palette) -> tuple[float, ...]:
    """The median place of labels that are drawn, per axis, as a share of its length."""
    if labelled is None or len(extent) == 2:
        return (0.5,) * len(extent)
    whole, ids = Box.whole(labelled.info.extent), list(palette)
    places = middle(lambda box: np.isin(labelled.read(box).values[..., 0], ids), whole, SIDE)
    return tuple((at + 0.5) / n for at, n in zip(places, whole.shape, strict=True))
