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
    """The PNG of ``(y, x, 3)`` uint8, for a page that holds its pictures."""
    with MemoryFile(ext=".png") as memory:
        _write(memory.name, rgb)
        return bytes(memory.read())


def _write(target: Any, rgb: np.ndarray) -> None:
    profile = {"height": rgb.shape[0], "width": rgb.shape[1], "count": 3, "dtype": "uint8"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(target, "w", driver="PNG", **profile) as file:
            file.write(np.moveaxis(rgb, -1, 0))
