"""Scenes of satellites: Sentinel-2 and Landsat."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seg_batch.core.errors import InputError
from seg_batch.core.registry.formats import Format

_SENTINEL_2 = (b"Level-2A_User_Product", b"Level-1C_User_Product")
_LANDSAT = (b"GROUP = LANDSAT_METADATA_FILE", b"<LANDSAT_METADATA_FILE", b'"LANDSAT_METADATA_FILE"')


def _matches_sentinel2(head: bytes) -> bool:
    return head.lstrip().startswith(b"<") and any(mark in head for mark in _SENTINEL_2)


def _matches_landsat(head: bytes) -> bool:
    return head.lstrip()[:1] in (b"G", b"<", b"{") and any(mark in head[:400] for mark in _LANDSAT)


def _holds_sentinel2(path: Path) -> bool:
    from seg_batch.io.sources.formats.satellites.sentinel2 import is_safe_zip

    return path.is_file() and is_safe_zip(path)


def _holds_landsat(path: Path) -> bool:
    from seg_batch.io.sources.formats.satellites.landsat import holds_landsat

    return holds_landsat(path)


def _names_landsat(name: str) -> bool:
    from seg_batch.io.sources.formats.satellites.landsat import FOLDER

    return FOLDER.fullmatch(name) is not None


def _require_one(path: Path, volume: int | None) -> None:
    if volume is not None:
        raise InputError(f"{path}: a raster has no volume {volume}; leave out --volume")


def _open_sentinel2(path: Path, *, volume: int | None = None, staged: Path | None = None) -> Any:
    from seg_batch.io.sources.formats.satellites.sentinel2 import open_sentinel2

    _require_one(path, volume)
    return open_sentinel2(path)


def _open_landsat(path: Path, *, volume: int | None = None, staged: Path | None = None) -> Any:
    from seg_batch.io.sources.formats.satellites.landsat import open_landsat

    _require_one(path, volume)
    return open_landsat(path)


SENTINEL_2 = Format(
    name="sentinel2",
    title="Sentinel-2",
    kind="raster",
    endings=(".safe", ".safe.zip"),
    metadata=("MTD_MSIL2A.xml", "MTD_MSIL1C.xml"),
    matches=_matches_sentinel2,
    holds=_holds_sentinel2,
    shared_endings=(".zip",),
    open=_open_sentinel2,
)
LANDSAT = Format(
    name="landsat",
    title="Landsat",
    kind="raster",
    endings=(),
    matches=_matches_landsat,
    holds=_holds_landsat,
    names_folder=_names_landsat,
    open=_open_landsat,
)
