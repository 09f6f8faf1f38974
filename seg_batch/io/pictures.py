"""PNG pictures, through GDAL, which is here anyway."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile


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
