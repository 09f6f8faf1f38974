"""VRT of GDAL: rasters that are parts of other files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seg_batch.config.image_options.scene import AS_FILES, SceneOptions
from seg_batch.core.errors import InputError
from seg_batch.core.registry.formats import Format
from seg_batch.io.sources.protocol import AlphaOption

_XML = (b"\xef\xbb\xbf", b"<?xml")


def _matches(head: bytes) -> bool:
    start = head.removeprefix(_XML[0]).lstrip()
    if start.startswith(_XML[1]):
        start = start.partition(b"?>")[2].lstrip()
    return start.startswith(b"<VRTDataset")


def _open(
    path: Path,
    *,
    volume: int | None = None,
    staged: Path | None = None,
    alpha: AlphaOption = "auto",
    scene: SceneOptions = AS_FILES,
) -> Any:
    if not scene.allow_vrt:
        raise InputError(
            f"{path}: a GDAL VRT, which would read other files in its name; --allow-vrt reads it after each of these was "
            "checked, or make a real GeoTIFF of it with gdal_translate"
        )
    if volume is not None:
        raise InputError(f"{path}: a raster has no volume {volume}; leave out --volume")
    from seg_batch.io.sources.formats.vrt.checked import open_vrt

    return open_vrt(path, [text for text in scene.allow if text.startswith("/")], alpha)


# Without an ending: a VRT beside its files is no image of its own among them.
VRT = Format(
    name="vrt",
    title="VRT",
    kind="raster",
    endings=(),
    matches=_matches,
    open=_open,
    marks_alpha=True,
    reads_scene=True,
)
