"""Rasters in bytes, whose pixels carry their own address."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import rasterio
from rasterio.io import MemoryFile
from rasterio.transform import from_origin


def pixels(height: int, width: int, bands: int = 2) -> np.ndarray:
    """uint16 ``(bands, height, width)``, no symmetry."""
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(1).integers(0, 7, (height, width))
    planes = [(y * (3 + 2 * b) + x * (7 + b) + noise + b) % 3990 for b in range(bands)]
    return np.stack(planes).astype(np.uint16)


def raster(height: int = 450, width: int = 600, bands: int = 2, **profile: Any) -> bytes:
    """A GeoTIFF in tiles of 128, unless ``profile`` says otherwise; ``mask``: pixels of an inner mask that count."""
    mask = profile.pop("mask", None)
    known = {"driver": "GTiff", "tiled": True, "blockxsize": 128, "blockysize": 128,
             "compress": "deflate", "crs": "EPSG:32633", "transform": from_origin(4e5, 5e6, 10, 10)}  # fmt: skip
    known = {**known, **profile}
    if not known["tiled"]:
        del known["blockxsize"]
    array = pixels(height, width, bands)
    array = array.astype(known.setdefault("dtype", "uint16"))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), MemoryFile() as file:
        with file.open(height=height, width=width, count=bands, **known) as dataset:
            dataset.write(array)
            if mask is not None:
                dataset.write_mask(mask)
        return file.read()


def picture(ending: str) -> bytes:
    """A PNG or JPEG."""
    from PIL import Image

    image, file = pixels(300, 500, 3).astype(np.uint8).transpose(1, 2, 0), io.BytesIO()
    Image.fromarray(image).save(file, ending)
    return file.getvalue()
