"""Small files that carry their own address, and the command as a user would call it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import rasterio
from rasterio.transform import Affine

from tests.support.patience import PATIENCE_S


def address_raster(shape: tuple[int, int], bands: int, dtype: str) -> np.ndarray:
    """``(bands, y, x)``: every pixel tells its row, column and band; no symmetry."""
    y, x = np.indices(shape)
    return np.stack([(y * 7 + x * 3 + y * x // 5 + 11 * b) % 251 for b in range(bands)]).astype(
        dtype
    )


def write_raster(path: Path, values: np.ndarray, **profile: Any) -> Path:
    defaults = {
        "driver": "GTiff",
        "crs": "EPSG:32612",
        "transform": Affine(30, 0, 301905, 0, -30, 4154085),
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "compress": "deflate",
    }
    count, height, width = values.shape
    with rasterio.open(
        path,
        "w",
        count=count,
        height=height,
        width=width,
        dtype=values.dtype,
        **{**defaults, **profile},
    ) as file:
        file.write(values)
    return path


def address_volume(shape: tuple[int, int, int]) -> np.ndarray:
    """``(i, j, k)`` int16, every voxel different from its neighbours."""
    i, j, k = np.indices(shape)
    return ((i * 5 + j * 3 + k * 11 + i * j // 3) % 997 - 300).astype(np.int16)


def write_volume(path: Path, values: np.ndarray, affine: np.ndarray) -> Path:
    nibabel.Nifti1Image(values, affine).to_filename(path)
    return path


class Ran:
    """What a finished command left: status, both streams, and the JSON object if it printed one."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def segbatch(*arguments: object, cwd: Path | None = None, **environment: str) -> Ran:
    """Run the command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "seg_batch", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **environment},
        timeout=2 * PATIENCE_S,
    )
    return Ran(done)


def products(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.tif")}


def damaged(path: Path) -> Path:
    """A scene one tile of which does not decode."""
    write_raster(path, address_raster((600, 500), 1, "uint8"))
    with rasterio.open(path) as file:
        at = int(file.get_tag_item("BLOCK_OFFSET_0_1", "TIFF", bidx=1))
    data = bytearray(path.read_bytes())
    data[at : at + 200] = b"\xff" * 200
    path.write_bytes(data)
    return path
