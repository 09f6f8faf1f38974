"""The one renderer: values as brightness, labels as colours, volumes by three planes; PNG and JPEG.

Every picture of a run, an evaluation, a training and the demo is made with these functions, so that the
same voxels look the same everywhere. Files are written by GDAL, which the package needs anyway.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile

from seg_batch.config.colours import OKABE_ITO as OKABE_ITO  # also named from here
from seg_batch.config.common_names import (
    common_names,
    letters_of,
    numbered,
    numbering_of,
    spellings_in,
)
from seg_batch.core.geometry import Blocks, Box, Shape
from seg_batch.core.normalise import Pixels
from seg_batch.core.units import number

RGB = tuple[int, int, int]
NO_DATA: RGB = (128, 128, 128)
PLANES = ("axial", "coronal", "sagittal")  # across z, y and x
# Index that turns the pixels of such a plane upright: superior is at the top, in an axial plane anterior.
# Sagittal planes have anterior on the left, as a PACS shows them. The axes of the volume run to superior,
# anterior, and left (or right). None: a raster, whose first row is at the top.
UPRIGHT: dict[int | None, Any] = {
    None: ...,
    0: np.s_[0, ::-1],
    1: np.s_[::-1, 0],
    2: np.s_[::-1, ::-1, 0],
}

# Computed tomography: air, at -1000 HU, fills a good part of any scan, and no other picture in
# common use goes as low. The window of soft tissue then says more than percentiles of air and bone.
CT_AIR = -500.0
CT_WINDOW = (-160.0, 240.0)


@dataclass(frozen=True)
class Composite:
    """The channels shown: three as red, green and blue, or one as grey; ``words``: empty where it is plain."""

    channels: tuple[int, ...]
    words: str = ""

    @classmethod
    def by_place(cls, count: int) -> Composite:
        """Of channels that nobody names: three as cameras have them, more as satellites do."""
        return cls((0,) if count < 3 else (0, 1, 2) if count == 3 else (2, 1, 0))

    @classmethod
    def of(cls, count: int, *named: Sequence[Sequence[str]]) -> Composite:
        """By the first of ``named`` that names so many channels, all that each is called; else by place."""
        for names in named:
            if len(names) == count and any(map(_is_name, itertools.chain(*names))):
                return cls.by_name(names)
        return cls.by_place(count)

    @classmethod
    def by_name(cls, names: Sequence[Sequence[str]]) -> Composite:
        """``names``: all that each channel is called. Red, green and blue; else near infrared, red and green in
        their place; else the first channel as grey, since others have no colour."""
        common = _common_names(names)
        for wanted, words in _COMPOSITES.items():
            places = [next((k for k, own in enumerate(common) if w in own), -1) for w in wanted]
            if min(places) >= 0:
                return cls(tuple(places), words)
        return cls((0,), f"{names[0][0]} in grey" if len(names) > 1 and names[0] else "")


_COMPOSITES = {
    ("red", "green", "blue"): "red, green, blue",
    ("nir", "red", "green"): "near infrared, red, green as red, green, blue",
}
# Of Sentinel-2, where numbers don't tell their sensor; Landsat 8 and 9 have the first three, too.
_NUMBERS = {"b2": "blue", "b3": "green", "b4": "red", "b8": "nir"}


def _is_name(text: str) -> bool:
    """Whether a text is more than the place of a channel, such as ``band 4``; ``B4`` is more."""
    pair = numbered(text)
    return bool(text) and (pair is None or pair[0] == "b")


def _common_names(named: Sequence[Sequence[str]]) -> list[set[str]]:
    """The common names of each channel."""
    words = [{word for text in texts for word in spellings_in(text)} for texts in named]
    every = set[str]().union(*words)
    means = {**_NUMBERS, **numbering_of(every), **letters_of(every)}
    return [common_names(own) | {means[word] for word in own & means.keys()} for own in words]


@dataclass(frozen=True)
class Window:
    """The lowest and the highest value shown, of each channel shown, and both in words."""

    low: Any
    high: Any
    words: str


def bands_shown(pixels: Pixels, composite: Composite | None = None) -> Pixels:
    """The channels of a composite, by default that ``by_place``, in physical units, float32."""
    chosen = composite or Composite.by_place(pixels.values.shape[-1])
    return Pixels(pixels.physical(np.float32), pixels.valid)[..., list(chosen.channels)]


def window_of(pictures: Sequence[Pixels], composite: Composite | None = None) -> Window:
    """One window for these pictures."""
    shown = [bands_shown(pixels, composite) for pixels in pictures]
    seen = np.concatenate([p.values[_seen(p)] for p in shown])
    return _window(seen) if len(seen) else Window(0.0, 0.0, "no data")


def stretch(
    pictures: Sequence[Pixels], composite: Composite | None = None, window: Window | None = None
) -> tuple[list[np.ndarray], str]:
    """RGB of pictures of one image, ``(y, x, 3)`` uint8 each, by one window, and the window in words. By default
    the window is their own."""
    window = window or window_of(pictures, composite)
    spread = np.maximum(window.high - window.low, 1e-6)
    out = []
    for p in (bands_shown(pixels, composite) for pixels in pictures):
        where = _seen(p)
        values = np.where(where[..., None], p.values, window.low)
        scaled = np.clip((values - window.low) / spread, 0, 1)
        rgb = np.broadcast_to((scaled * 255).astype(np.uint8), (*where.shape, 3)).copy()
        rgb[~where] = NO_DATA
        out.append(rgb)
    return out, window.words


def _seen(shown: Pixels) -> np.ndarray:
    return np.asarray(shown.any_valid() & np.isfinite(shown.values).all(-1))


def _window(seen: np.ndarray) -> Window:
    """Of the values ``(n, channels)``."""
    low, high = np.percentile(seen, (1, 99), axis=0)
    if seen.shape[1] > 1:
        return Window(low, high, "1st to 99th percentile of each band")
    if low[0] < CT_AIR:
        words = f"{CT_WINDOW[0]:g} to {CT_WINDOW[1]:g} HU (soft tissue)"
        return Window(np.float32(CT_WINDOW[0]), np.float32(CT_WINDOW[1]), words)
    words = f"{number(float(low[0]))} to {number(float(high[0]))} (1st to 99th percentile)"
    return Window(low, high, words)


def coloured(
    labels: np.ndarray,
    valid: np.ndarray,
    palette: Mapping[int, Sequence[int]],
    elsewhere: Sequence[int] = NO_DATA,
) -> np.ndarray:
    """Each of ``labels (y, x)`` in its colour, uint8; ``elsewhere``: the colour of voxels that are not
    valid or not in the palette. Colours have three numbers, or four with opacity last."""
    out = np.full((*labels.shape, len(elsewhere)), elsewhere, np.uint8)
    for label, colour in palette.items():
        out[valid & (labels == label)] = colour
    return out


def middle(foreground: Callable[[Box], np.ndarray], box: Box, side: Shape) -> Shape:
    """Per axis the median place of the foreground of ``box``, its middle where there is none.

    ``foreground``: bool ``box.shape`` for a box; it is called for blocks of at most ``side``.
    """
    counts = [np.zeros(n, np.int64) for n in box.shape]
    for block in Blocks(box.shape, side):
        there = foreground(block.box.shift(box.start))
        for axis, count in enumerate(counts):
            others = tuple(n for n in range(there.ndim) if n != axis)
            count[block.box.slices()[axis]] += there.sum(others)
    return tuple(
        a + (int(np.searchsorted(c.cumsum(), c.sum() / 2)) if c.any() else len(c) // 2)
        for a, c in zip(box.start, counts, strict=True)
    )


def planes(box: Box, places: Shape) -> list[tuple[int | None, Box]]:
    """The boxes that are drawn, each with the axis that it is a plane across: a raster whole, of a
    volume the planes through ``places``."""
    if len(box.shape) == 2:
        return [(None, box)]
    cut: list[tuple[int | None, Box]] = []
    for axis, at in enumerate(places):
        start, stop = list(box.start), list(box.stop)
        start[axis], stop[axis] = at, at + 1
        cut.append((axis, Box(tuple(start), tuple(stop))))
    return cut


def write_png(path: Path, rgb: np.ndarray) -> None:
    """Write ``(y, x, 3)`` uint8 as a PNG, without the side file that GDAL likes to add."""
    _write(path, rgb)
    path.with_name(path.name + ".aux.xml").unlink(missing_ok=True)


def png_bytes(rgb: np.ndarray) -> bytes:
    """The PNG of ``(y, x, 3)`` uint8, or ``(y, x, 4)`` with opacity last, for a page that holds
    its pictures."""
    with MemoryFile(ext=".png") as memory:
        _write(memory.name, rgb)
        return bytes(memory.read())


def jpeg_bytes(rgb: np.ndarray, quality: int = 80) -> bytes:
    """The JPEG of ``(y, x, 3)`` uint8: a tenth of a PNG's size where no voxel need be exact."""
    with MemoryFile(ext=".jpg") as memory:
        _write(memory.name, rgb, driver="JPEG", quality=quality)
        return bytes(memory.read())


def _write(target: Any, rgb: np.ndarray, driver: str = "PNG", **options: Any) -> None:
    height, width, count = rgb.shape
    profile = {"height": height, "width": width, "count": count, "dtype": "uint8", **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(target, "w", driver=driver, **profile) as file:
            file.write(np.moveaxis(rgb, -1, 0))
