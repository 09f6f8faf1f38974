"""The one renderer: values as brightness, labels as colours, volumes by three planes; PNG and JPEG.

Every picture of a run, an evaluation, a training and the demo is made with these functions, so that the
same voxels look the same everywhere. Files are written by GDAL, which the package needs anyway.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile

from seg_batch.config.colours import OKABE_ITO as OKABE_ITO  # also named from here
from seg_batch.core.geometry import Blocks, Box, Shape
from seg_batch.core.normalise import Pixels
from seg_batch.core.units import number

RGB = tuple[int, int, int]
NO_DATA: RGB = (128, 128, 128)
PLANES = ("axial", "coronal", "sagittal")  # across z, y and x
# Index that turns the pixels of such a plane upright: its first axis runs to superior or anterior.
# None: a raster, whose first row is at the top.
UPRIGHT: dict[int | None, Any] = {
    None: ...,
    0: np.s_[0, ::-1],
    1: np.s_[::-1, 0],
    2: np.s_[::-1, :, 0],
}

# Computed tomography: air, at -1000 HU, fills a good part of any scan, and no other picture in
# common use goes as low. The window of soft tissue then says more than percentiles of air and bone.
CT_AIR = -500.0
CT_WINDOW = (-160.0, 240.0)


def bands_shown(pixels: Pixels) -> Pixels:
    """Bands 1, 2, 3 as red, green, blue where there are three; 3, 2, 1 where there are more, as
    satellites have them; else the first as grey. In physical units, float32."""
    count = pixels.values.shape[-1]
    plain = Pixels(pixels.physical(np.float32), pixels.valid)
    return plain[..., :1] if count < 3 else plain[..., :3] if count == 3 else plain[..., 2::-1]


def stretch(pictures: Sequence[Pixels]) -> tuple[list[np.ndarray], str]:
    """RGB of pictures of one image, ``(y, x, 3)`` uint8 each, by one window, and the window in words."""
    shown = [bands_shown(pixels) for pixels in pictures]
    valid = [p.any_valid() & np.isfinite(p.values).all(-1) for p in shown]
    seen = np.concatenate([p.values[where] for p, where in zip(shown, valid, strict=True)])
    (low, high), words = _window(seen) if len(seen) else ((0.0, 0.0), "no data")
    spread = np.maximum(high - low, 1e-6)
    out = []
    for p, where in zip(shown, valid, strict=True):
        scaled = np.clip((np.where(where[..., None], p.values, low) - low) / spread, 0, 1)
        rgb = np.broadcast_to((scaled * 255).astype(np.uint8), (*where.shape, 3)).copy()
        rgb[~where] = NO_DATA
        out.append(rgb)
    return out, words


def _window(seen: np.ndarray) -> tuple[tuple[Any, Any], str]:
    """Lowest and highest value shown, per channel of ``(n, channels)``, and both in words."""
    low, high = np.percentile(seen, (1, 99), axis=0)
    if seen.shape[1] > 1:
        return (low, high), "1st to 99th percentile of each band"
    if low[0] < CT_AIR:
        words = f"{CT_WINDOW[0]:g} to {CT_WINDOW[1]:g} HU (soft tissue)"
        return (np.float32(CT_WINDOW[0]), np.float32(CT_WINDOW[1])), words
    words = f"{number(float(low[0]))} to {number(float(high[0]))} (1st to 99th percentile)"
    return (low, high), words


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
