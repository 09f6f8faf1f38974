"""GRIB, edition 1 and 2: each message is a raster, by its number or its name."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

from seg_batch.core.errors import InputError
from seg_batch.io.sources.formats.raster import RasterSource, described
from seg_batch.io.sources.formats.raster_opening import Opening, opened
from seg_batch.io.sources.formats.variables.longitudes import beyond_180
from seg_batch.io.sources.formats.variables.whole import cut_short

_LISTED = 8
_END = b"7777"
_SEARCHED = 64 << 10  # bytes between two messages


def open_grib(path: Path, part: str = "") -> RasterSource:
    """The message ``part``: a number from 1, a short name like ``2-HTGL``, or an element like ``TMP``; with the name behind
    a comma, both. Empty: the only one. ``InputError`` in one line."""
    _require_whole(path)
    opening = Opening(path, "grib", "GRIB", options=(("USE_IDX", "NO"),))
    with opened(opening) as dataset:
        index = _index(path, dataset, part)
        tags = dataset.tags(index + 1)
        source = described(opening, dataset)
    info, bands = source.info, source.bands
    told: list[str] = []
    if (beyond := beyond_180(info.georef, info.extent)) is not None:
        told.append(beyond)
    kept = bands.only([index])
    assert kept is not None
    info = replace(
        info,
        path=f"{path}:{part}" if part else str(path),
        channels=(tags.get("GRIB_ELEMENT") or f"message{index + 1}",),
        nodata=(info.nodata[index],),
        names=(),
        scale=info.scale and (info.scale[index],),
        offset=info.offset and (info.offset[index],),
        warnings=(*info.warnings, *told),
        facts={**info.facts, "message": index + 1, "units": tags.get("GRIB_UNIT", "")},
    )
    return RasterSource(opening, info, kept)


def _index(path: Path, dataset: Any, part: str) -> int:
    if not part and dataset.count == 1:
        return 0
    if part.isdecimal() and 1 <= int(part) <= dataset.count:
        return int(part) - 1
    names = [_called(dataset, b) for b in dataset.indexes]
    wanted = {word.strip().lower() for word in part.split(",")} if part else set()
    found = [i for i, name in enumerate(names) if wanted <= {word.lower() for word in name}]
    if part and len(found) == 1:
        return found[0]
    listed = found or list(range(dataset.count))
    shown = "; ".join(f"{i + 1} is {', '.join(names[i])}" for i in listed[:_LISTED])
    what = (
        f"{len(found)} messages are {part}"
        if found and part
        else f"it holds {dataset.count} messages"
    )
    what = what if not part or found else f"no message is {part}, and {what}"
    raise InputError(
        f"{path}: {what} ({shown}{'; ...' * (len(listed) > _LISTED)}); name one by its number, like {path}:{listed[0] + 1}"
    )


def _called(dataset: Any, band: int) -> list[str]:
    """The element, the level, and the time of validity of a message."""
    tags = dataset.tags(band)
    keys = ("GRIB_ELEMENT", "GRIB_SHORT_NAME", "GRIB_VALID_TIME")
    return [str(tags[key]).strip() for key in keys if tags.get(key)]


def _require_whole(path: Path) -> None:
    """``InputError`` unless all messages end within the file as they say: GDAL passes over one that does not."""
    size, at = path.stat().st_size, 0
    with path.open("rb") as file:
        while at < size:
            file.seek(at)
            head = file.read(_SEARCHED)
            begin = head.find(b"GRIB")
            if begin < 0:
                at += max(1, len(head) - 3) if len(head) == _SEARCHED else size
                continue
            at += begin
            file.seek(at)
            start = file.read(16).ljust(16, b"\0")
            length = (
                struct.unpack(">Q", start[8:])[0]
                if start[7] == 2
                else int.from_bytes(start[4:7], "big")
            )
            file.seek(max(0, at + length - 4))
            if length < 20 or at + length > size or file.read(4) != _END:
                raise cut_short(path)
            at += length
