"""PNG pictures, through GDAL, which is here anyway."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning


def write_png(path: Path, rgb: np.ndarray) -> None:
    """Write ``(y, x, 3)`` uint8 as a PNG, without the side file that GDAL likes to add."""
    profile = {"height": rgb.shape[0], "width": rgb.shape[1], "count": 3, "dtype": "uint8"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="PNG", **profile) as file:
            file.write(np.moveaxis(rgb, -1, 0))
    path.with_name(path.name + ".aux.xml").unlink(missing_ok=True)
