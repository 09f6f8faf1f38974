"""Quicklooks: small pictures of an image and its labels, from a bounded part of the files.

A raster is shown whole. A volume is shown by three slices through the median voxel of its labels
(without labels, through its own middle). Pictures have the proportions of the world.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from math import hypot
from pathlib import Path
from typing import Any

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
    jpeg_bytes,
    middle,
    planes,
    png_bytes,
    stretch,
)
from seg_batch.io.sources.naming.channel_names import ChannelNames
from seg_batch.io.sources.protocol import Source, SourceInfo
from seg_batch.io.sources.thumbnail import thumbnail
from seg_batch.io.sources.views.open_view import Axes, ImageSpec, open_view

LONGEST = {2: 448, 3: 256}  # voxels per side of a picture, by rank
SAMPLED = 96  # the same, of what a window is measured on
LARGEST_VOXELS = 1 << 27  # of a file without overviews, which must be read whole
SIDE = (64, 512, 512)  # of the blocks in which labels are read for the middle of a volume

# The radiological convention: seen from the feet and from the front, the patient's right is on the
# left. Letters per plane: left, right, above, below.
SEEN = "LAS"
LETTERS = ("RLAP", "RLSI", "PASI")


@dataclass(frozen=True)
class PlaneView:
    """One picture. ``image``: a JPEG; ``labels``: a PNG with a transparent background; each may be
    None. ``aspect`` (width / height) and ``width`` are those of the world; ``letters``: left,
    right, above, below."""

    title: str
    image: bytes | None
    labels: bytes | None
    aspect: float
    width: float = 1.0
    letters: str = ""
    window: str = ""


# The windows that pictures share, by the words and the number of the channels of their composite.
Windows = Mapping[tuple[str, int], Window]


def draw_quicklook(
    image: str | Path | None,
    labels: str | Path | None,
    report: dict[str, Any],
    windows: Windows | None = None,
) -> tuple[PlaneView, ...]:
    """The views of one input. ``labels``: the path of its product; ``report``: the one beside the
    product (classes, background, volume); ``windows``: those to show it by, else its own. ``InputError`` for a
    file too large to be read."""
    with ExitStack() as opened:
        pictured = None if image is None else _open(_image(image, report), opened)
        labelled = None if labels is None else _open(ImageSpec((str(labels),)), opened)
        if pictured is None and labelled is None:
            return ()
        return _views(pictured, labelled, report, windows or {})


def sample(image: str | Path, report: dict[str, Any]) -> tuple[Composite, list[Pixels]]:
    """How an input is shown, and a few of the pixels that are shown of it."""
    with ExitStack() as opened:
        source = _open(_image(image, report), opened)
        assert source is not None
        middle = (0.5,) * len(source.info.extent)
        composite = _composite(source.info, report)
        return composite, [
            bands_shown(pixels, composite) for pixels in _small(source, middle, SAMPLED)
        ]


def _composite(info: SourceInfo, report: dict[str, Any]) -> Composite:
    """By what the file calls its channels, else by what the model does, else by what writers put into files
    unasked, else by their place."""
    said = info.names or (ChannelNames(),) * len(info.channels)
    own = [
        (name, *each.names, *names_at(each.wavelength_um or 0.0))
        for name, each in zip(info.channels, said, strict=True)
    ]
    models = [(name,) for name in report.get("model", {}).get("channels") or ()]
    return Composite.of(len(own), own, models, [each.weak for each in said])


def _image(path: str | Path, report: dict[str, Any]) -> ImageSpec:
    """The image as it was read for the product."""
    files = report.get("source", {}).get("files") or [str(path)]
    read = report.get("plan", {}).get("fingerprint", {})
    volume, last = read.get("volume"), bool(read.get("channels_last_axis"))
    return ImageSpec(tuple(files), None if volume is None else int(volume), channels_last_axis=last)


def _open(image: ImageSpec, opened: ExitStack) -> Source:
    view = opened.enter_context(open_view(image, Axes(SEEN)))
    info = view.file.info
    if info.voxels > LARGEST_VOXELS and not info.facts.get("overviews"):
        size = show_bytes(info.voxels * info.voxel_bytes)
        raise InputError(f"{size} without overviews are too much to read for a picture")
    return view.native if view.identity else view  # the native source has overviews


def _views(
    pictured: Source | None, labelled: Source | None, report: dict[str, Any], windows: Windows
) -> tuple[PlaneView, ...]:
    first = pictured or labelled
    assert first is not None
    shares = _middle(first.info.extent, labelled, report)
    axes = [axis for axis, _ in _planes(first.info.extent, shares)]
    images: list[np.ndarray | None] = [None] * len(axes)
    maps, window = images, ""
    if pictured is not None:
        composite = _composite(pictured.info, report)
        shared = windows.get((composite.words, len(composite.channels)))
        drawn, words = stretch(_small(pictured, shares), composite, shared)
        images, window = [*drawn], ": ".join(filter(None, (composite.words, words)))
    if labelled is not None:
        palette, clear = _palette(report), (0, 0, 0, 0)  # also where there is no label
        small = _small(labelled, shares)
        maps = [coloured(p.values[..., 0], p.any_valid(), palette, clear) for p in small]
    return tuple(
        _view(first.info, axis, shares, image, labels, window)
        for axis, image, labels in zip(axes, images, maps, strict=True)
    )


def _view(
    info: SourceInfo,
    axis: int | None,
    shares: tuple[float, ...],
    rgb: np.ndarray | None,
    rgba: np.ndarray | None,
    window: str,
) -> PlaneView:
    """The picture of one plane."""
    image = None if rgb is None else jpeg_bytes(rgb)
    labels = None if rgba is None else png_bytes(rgba)
    georef = info.georef
    if axis is None or isinstance(georef, RasterGeoref):
        return PlaneView("", image, labels, _raster_aspect(info), window=window)
    sides = [n * s for n, s in zip(info.extent, georef.spacing, strict=True)]
    height, width = (side for k, side in enumerate(sides) if k != axis)
    at = int(shares[axis] * info.extent[axis])
    if PLANES[axis] == "sagittal":  # counted as the others are: from the feet, the back, the left
        at = info.extent[axis] - 1 - at
    title = f"{PLANES[axis]}, slice {at + 1} of {info.extent[axis]}"
    placed = georef.sform_code > 0 or georef.qform_code > 0
    letters = LETTERS[axis] if placed else ""
    return PlaneView(title, image, labels, width / height, width, letters, window)


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


def _middle(extent: Shape, labelled: Source | None, report: dict[str, Any]) -> tuple[float, ...]:
    """The median place of labels other than background, per axis, as a share of its length."""
    if labelled is None or len(extent) == 2:
        return (0.5,) * len(extent)
    ids = list(_palette(report))
    whole = Box.whole(labelled.info.extent)
    places = middle(lambda box: np.isin(labelled.read(box).values[..., 0], ids), whole, SIDE)
    return tuple((at + 0.5) / n for at, n in zip(places, whole.shape, strict=True))


def _palette(report: dict[str, Any]) -> dict[int, tuple[int, ...]]:
    """Opaque RGBA colours of the classes other than background, by id."""
    rows, background = report.get("classes", ()), report.get("background")
    return {row["id"]: (*row["colour"], 255) for row in rows if row["id"] != background}
