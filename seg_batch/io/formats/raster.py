"""GeoTIFF, PNG, JPEG and JPEG 2000; labels as cloud-optimised GeoTIFF."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from seg_batch.core.errors import InputError
from seg_batch.core.registry.formats import Format, ProductFormat
from seg_batch.io.sinks.spec import ProductSpec, Read
from seg_batch.io.sources.protocol import AlphaOption


def _open(
    name: str,
    path: Any,
    *,
    volume: int | None = None,
    staged: Path | None = None,
    alpha: AlphaOption = "auto",
) -> Any:
    from seg_batch.io.sources.formats.raster import open_raster

    if volume is not None:
        raise InputError(f"{path}: a raster has no volume {volume}; leave out --volume")
    return open_raster(path, name, alpha)


def _format(name: str, title: str, endings: tuple[str, ...], *magic: bytes) -> Format:
    return Format(
        name=name,
        title=title,
        kind="raster",
        endings=endings,
        # The preamble of DICOM may hold the head of a TIFF that only some readers need.
        matches=lambda head: head.startswith(magic) and head[128:132] != b"DICM",
        open=partial(_open, name),
        marks_alpha=True,
        is_read_remotely=True,
    )


def _begin(spec: ProductSpec, folder: Path) -> Any:
    from seg_batch.io.sinks.cog.write import begin_cog

    return begin_cog(spec, folder)


def _write(
    part: Path,
    store: Any,
    spec: ProductSpec,
    read: Read,
    again: Read,
    labels: str,
    begun: Any = None,
) -> None:
    from seg_batch.io.sinks.cog.check import check_cog
    from seg_batch.io.sinks.cog.place import placed
    from seg_batch.io.sinks.cog.write import write_cog

    spec = placed(spec)
    write_cog(part, spec, read, begun)
    check_cog(part, spec, again)


def _write_picture(
    part: Path, store: Any, spec: ProductSpec, read: Read, again: Read, labels: str
) -> None:
    from seg_batch.io.sinks.picture import write_picture

    write_picture(part, spec, read)


def _prove(spec: ProductSpec, name: str) -> list[str]:
    from seg_batch.io.sinks.cog.place import place_warnings

    return place_warnings(spec, name)


_BIG = (b"II+\0", b"MM\0+")
GEOTIFF = _format("geotiff", "GeoTIFF", (".tif", ".tiff"), b"II*\0", b"MM\0*", *_BIG)
PNG = _format("png", "PNG", (".png",), b"\x89PNG\r\n\x1a\n")
JPEG = _format("jpeg", "JPEG", (".jpg", ".jpeg"), b"\xff\xd8\xff")
JP2 = _format(
    "jp2",
    "JPEG 2000",
    (".jp2", ".j2k", ".j2c", ".jpx"),
    b"\0\0\0\x0cjP  \r\n\x87\n",
    b"\xff\x4f\xff\x51",
)
COG = ProductFormat(
    name="cog",
    kinds=("raster",),
    endings=(".tif",),
    aliases=(".tiff",),
    begin=_begin,
    write=_write,
    prove=_prove,
)
PICTURE = ProductFormat(
    name="picture",
    kinds=("raster", "volume"),
    endings=PNG.endings,
    write=_write_picture,
    holds_labels=False,
)
