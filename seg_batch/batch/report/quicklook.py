"""Quicklooks: the image of an input and its labels, small, from a bounded part of the files.

A raster is shown whole, a volume by three slices through the middle of its labels (where it has
none, through its own middle), as tall and wide as it is in the world.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from math import hypot
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Blocks, Box, Shape
from seg_batch.core.georef import RasterGeoref
from seg_batch.core.normalise import Pixels
from seg_batch.core.units import number, show_bytes
from seg_batch.io.pictures import jpeg_bytes, png_bytes
from seg_batch.io.sources.protocol import Source, SourceInfo
from seg_batch.io.sources.thumbnail import thin
from seg_batch.io.sources.views.open_view import Axes, ImageSpec, open_view

LONGEST = {2: 448, 3: 256}  # voxels per side of a picture, by rank
LARGEST_VOXELS = 1 << 27  # of what must be read whole, because it has no overviews
NO_DATA = (128, 128, 128)

# Computed tomography: air, at -1000 HU, fills a good part of any scan, and no other picture in
# common use goes as low. The window of soft tissue then says more than percentiles of air and bone.
CT_AIR = -500.0
CT_WINDOW = (-160.0, 240.0)

# Per axis across: name, and what is left, right, above, below once the first axis is turned upright.
# As radiologists look: from the feet and from the front, so that the patient's right is on the left.
SEEN = "LAS"
PLANES = (
    ("axial", "RLAP"),
    ("coronal", "RLSI"),
    ("sagittal", "PASI"),
)


@dataclass(frozen=True)
class View:
    """One picture: ``image`` a JPEG or None, ``labels`` a PNG whose background is transparent, or
    None; ``aspect`` = width / height and ``width``, both in the world; ``letters``: left, right, above, below."""

    title: str
    image: bytes | None
    labels: bytes | None
    aspect: float
    width: float = 1.0
    letters: str = ""
    window: str = ""


def draw(
    image: str | Path | None, labels: str | Path | None, report: dict[str, Any]
) -> tuple[View, ...]:
    """The views of one input. ``labels``: its product, if it has one; ``report``: the product's own
    (classes, background, which volume). ``InputError`` for what is too large to be read."""
    with ExitStack() as opened:
        pictured = _open(image, _volume(report), opened)
        labelled = _open(labels, None, opened)
        if pictured is None and labelled is None:
            return ()
        return _views(pictured, labelled, report)


def _volume(report: dict[str, Any]) -> int | None:
    found = report.get("plan", {}).get("fingerprint", {}).get("volume")
    return None if found is None else int(found)


def _open(path: str | Path | None, volume: int | None, opened: ExitStack) -> Source | None:
    if path is None:
        return None
    view = opened.enter_context(open_view(ImageSpec((str(path),), volume), Axes(SEEN)))
    info = view.file.info
    if info.voxels > LARGEST_VOXELS and not info.facts.get("overviews"):
        size = show_bytes(info.voxels * info.voxel_bytes)
        raise InputError(f"{size} without overviews are too much to read for a picture")
    return view.native if view.oriented.identity else view  # its overviews, where it has any


def _views(
    pictured: Source | None, labelled: Source | None, report: dict[str, Any]
) -> tuple[View, ...]:
    first = pictured or labelled
    assert first is not None
    middle = _middle(first.info.extent, labelled, report)
    planes = [None] if len(first.info.extent) == 2 else [0, 1, 2]
    images = None if pictured is None else [_thinned(pictured, a, middle) for a in planes]
    maps = None if labelled is None else [_thinned(labelled, a, middle) for a in planes]
    greys, window = ([None] * len(planes), "") if images is None else _windowed(images)
    colours = [None] * len(planes) if maps is None else [_coloured(m, report) for m in maps]
    return tuple(
        _view(first.info, axis, middle, grey, colour, window)
        for axis, grey, colour in zip(planes, greys, colours, strict=True)
    )


def _view(
    info: SourceInfo,
    axis: int | None,
    middle: tuple[float, ...],
    grey: np.ndarray | None,
    colour: np.ndarray | None,
    window: str,
) -> View:
    """The picture of one plane; ``axis`` None: a raster, whose first row is at the top."""
    image = None if grey is None else jpeg_bytes(grey if axis is None else grey[::-1])
    labels = None if colour is None else png_bytes(colour if axis is None else colour[::-1])
    georef = info.georef
    if axis is None or isinstance(georef, RasterGeoref):
        return View("", image, labels, _raster_aspect(info), window=window)
    sides = [n * s for n, s in zip(info.extent, georef.spacing, strict=True)]
    height, width = (side for k, side in enumerate(sides) if k != axis)
    name, letters = PLANES[axis]
    at = int(middle[axis] * info.extent[axis])
    if name == "sagittal":  # counted as the others are: from the feet, the back, the left
        at = info.extent[axis] - 1 - at
    title = f"{name}, slice {at + 1} of {info.extent[axis]}"
    placed = georef.sform_code > 0 or georef.qform_code > 0
    letters = letters if placed else ""
    return View(title, image, labels, width / height, width, letters, window)


def _raster_aspect(info: SourceInfo) -> float:
    """Width / height on the ground; control points instead of a transform: as if square."""
    a, b, _, d, e, _ = info.georef.transform  # type: ignore[union-attr]
    height, width = info.extent
    return width * (hypot(a, d) or 1.0) / (height * (hypot(b, e) or 1.0))


def _thinned(source: Source, axis: int | None, middle: tuple[float, ...]) -> Pixels:
    """A picture's worth of the raster, or of the plane across ``axis``."""
    extent = source.info.extent
    start, stop = [0] * len(extent), list(extent)
    if axis is not None:
        start[axis] = min(extent[axis] - 1, int(middle[axis] * extent[axis]))
        stop[axis] = start[axis] + 1
    box = Box(tuple(start), tuple(stop))
    shape = _small(box.shape, LONGEST[len(extent)])
    pixels = thin(source, box, shape)
    return pixels if axis is None else pixels[(slice(None),) * axis + (0,)]


def _small(shape: Shape, longest: int) -> Shape:
    factor = max(1.0, max(shape) / longest)
    return tuple(max(1, round(n / factor)) for n in shape)


def _middle(extent: Shape, labelled: Source | None, report: dict[str, Any]) -> tuple[float, ...]:
    """Per axis, as a share of it, the median place of what is not background."""
    if labelled is None or len(extent) == 2:
        return (0.5,) * len(extent)
    side = (64, 512, 512)
    counts = [np.zeros(n, np.int64) for n in labelled.info.extent]
    ids = [c["id"] for c in report.get("classes", ()) if c["id"] != report.get("background")]
    for block in Blocks(labelled.info.extent, side):
        there = np.isin(labelled.read(block.box).values[..., 0], ids)
        for axis, count in enumerate(counts):
            others = tuple(n for n in range(3) if n != axis)
            count[block.box.slices()[axis]] += there.sum(others)
    return tuple(
        (int(np.searchsorted(c.cumsum(), c.sum() / 2)) + 0.5) / len(c) if c.any() else 0.5
        for c in counts
    )


def _windowed(images: list[Pixels]) -> tuple[list[np.ndarray | None], str]:
    """RGB of all planes, ``(y, x, 3)`` uint8 each, by one window, and the window in words."""
    picked = [_bands(pixels) for pixels in images]
    values = [p.physical(np.float32) for p in picked]
    valid = [p.any_valid() & np.isfinite(v).all(-1) for p, v in zip(picked, values, strict=True)]
    seen = np.concatenate([v[where] for v, where in zip(values, valid, strict=True)])
    if not len(seen):
        return [np.full((*v.shape[:2], 3), NO_DATA, np.uint8) for v in values], "no data"
    (low, high), words = _window(seen)
    spread = np.maximum(high - low, 1e-6)
    out: list[np.ndarray | None] = []
    for v, where in zip(values, valid, strict=True):
        scaled = np.clip((np.where(where[..., None], v, low) - low) / spread, 0, 1)
        rgb = np.broadcast_to((scaled * 255).astype(np.uint8), (*v.shape[:2], 3)).copy()
        rgb[~where] = NO_DATA
        out.append(rgb)
    return out, words


def _window(seen: np.ndarray) -> tuple[tuple[Any, Any], str]:
    """Lowest and highest value shown, per channel of ``(n, channels)``, and that in words."""
    low, high = np.percentile(seen, (1, 99), axis=0)
    if seen.shape[1] == 1 and low[0] < CT_AIR:
        words = f"{CT_WINDOW[0]:g} to {CT_WINDOW[1]:g} HU (soft tissue)"
        return (np.float32(CT_WINDOW[0]), np.float32(CT_WINDOW[1])), words
    if seen.shape[1] == 1:
        words = f"{number(float(low[0]))} to {number(float(high[0]))} (1st to 99th percentile)"
    else:
        words = "1st to 99th percentile of each band"
    return (low, high), words


def _bands(pixels: Pixels) -> Pixels:
    """Bands 1, 2, 3 as red, green, blue where there are three; 3, 2, 1 where there are more, as
    satellites have them; else the first as grey."""
    count = pixels.values.shape[-1]
    if count < 3:
        return Pixels(pixels.physical(np.float32), pixels.valid)[..., :1]
    plain = Pixels(pixels.physical(np.float32), pixels.valid)
    return plain[..., :3] if count == 3 else plain[..., 2::-1]


def _coloured(labels: Pixels, report: dict[str, Any]) -> np.ndarray:
    """RGBA ``(y, x, 4)`` uint8; nothing where there is background or no label."""
    values = labels.values[..., 0]
    out = np.zeros((*values.shape, 4), np.uint8)
    for row in report.get("classes", ()):
        if row["id"] != report.get("background"):
            out[values == row["id"]] = (*row["colour"], 255)
    out[~labels.any_valid()] = 0
    return out
