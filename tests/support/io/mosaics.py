"""A scene cut into pieces, and what a mosaic of pieces should read as: the slow, obvious way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.transform import Affine

from tests.support.files import write_raster

PLACE = Affine(10, 0, 399960, 0, -10, 5800020)
ROWS, COLUMNS = (0, 61, 150, 190, 260), (0, 47, 128, 200, 271, 330)
HOLE = (2, 1)  # row and column of the piece that is not there


def cut(
    values: np.ndarray,
    folder: Path,
    place: Affine = PLACE,
    hole: tuple[int, int] | None = HOLE,
    times: int = 1,
    **more: Any,
) -> list[Path]:
    """Uneven pieces of ``(channels, y, x)``, written as GeoTIFFs, all but the hole. ``times``: so many pixels for each of ``ROWS`` and
    ``COLUMNS``."""
    folder.mkdir(exist_ok=True)
    paths = []
    for i in range(len(ROWS) - 1):
        for j in range(len(COLUMNS) - 1):
            if (i, j) != hole:
                top, bottom, left, right = (
                    times * n for n in (*ROWS[i : i + 2], *COLUMNS[j : j + 2])
                )
                there = place @ Affine.translation(left, top)
                part = values[:, top:bottom, left:right]
                paths.append(
                    write_raster(folder / f"region_{i}{j}.tif", part, transform=there, **more)
                )
    return paths


def with_hole(values: np.ndarray, fill: Any, times: int = 1) -> np.ndarray:
    """The scene with the piece that is not there filled."""
    i, j = HOLE
    values = values.copy()
    rows, columns = (
        slice(*(times * n for n in ends)) for ends in (ROWS[i : i + 2], COLUMNS[j : j + 2])
    )
    values[:, rows, columns] = fill
    return values


def drawn(
    extent: tuple[int, int], pieces: Sequence[tuple[int, int, np.ndarray]], nodata: int
) -> np.ndarray:
    """``(y, x)``: of each pixel the first of the pieces ``(row, column, values)`` that has data there; pixel by pixel."""
    seen = np.full(extent, nodata)
    for y, x in np.ndindex(extent):
        for row, column, values in pieces:
            at = y - row, x - column
            inside = all(0 <= n < size for n, size in zip(at, values.shape, strict=True))
            if inside and values[at] != nodata:
                seen[y, x] = values[at]
                break
    return seen
