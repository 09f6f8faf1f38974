"""The index of a mosaic, made of the headers of its pieces. No pixel is read."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import batched
from typing import Any

import numpy as np

from seg_batch.config.image_options.scene import SceneOptions
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.core.georef import RasterGeoref, georef_to_json, shifted
from seg_batch.core.hardware import cores
from seg_batch.core.privacy.addresses import shown
from seg_batch.io.sources import open_source
from seg_batch.io.sources.detect import detect
from seg_batch.io.sources.mosaic.brought import footprint
from seg_batch.io.sources.mosaic.grid import placed, require_placed
from seg_batch.io.sources.mosaic.index import MosaicIndex, mark_of
from seg_batch.io.sources.mosaic.order import ranks
from seg_batch.io.sources.protocol import AlphaOption, SourceInfo

_MOST_SIDE = (1 << 31) - 1  # pixels of a raster's side, of GDAL
_MOST_WARNINGS = 20
_KEPT = 2  # indices of this process


@dataclass(frozen=True)
class _Piece:
    """What is kept of a piece. ``box``: on the grid of the first; ``transform``: its own."""

    box: Box
    brought: bool
    mark: bytes
    dtype: str
    nodata: tuple[float | None, ...]
    transform: tuple[float, ...]
    block_bytes: int
    warnings: tuple[str, ...]


def build_index(
    paths: Sequence[str], scene: SceneOptions, alpha: AlphaOption = "auto"
) -> tuple[MosaicIndex, SourceInfo]:
    """The index, and what is known of the piece that counts first. ``InputError``, naming the piece and what
    differs, unless all are rasters of one grid, with the same channels, scale and offset."""
    _require_different(paths)
    look = partial(_opened_info, scene=scene, alpha=alpha)
    first = look(paths[0])
    require_placed(first)
    # A header waits for the disk now and then; the first fault in the order of the pieces is told.
    pieces = list[_Piece]()
    with ThreadPoolExecutor(min(8, 2 * cores())) as threads:
        for some in batched(paths, 1024):
            pieces += threads.map(lambda path: _piece(look(path), first, scene), some)
    order = ranks(paths, scene.order, _tags_of)
    index = _index(paths, pieces, order, first, scene)
    _keep(index)
    return index, first if order[0] == 0 else look(paths[order[0]])


def known_index(sha256: str) -> MosaicIndex | None:
    """An index that this process made, by its digest; the last few are kept."""
    return _recent.get(sha256)


_recent: OrderedDict[str, MosaicIndex] = OrderedDict()


def _keep(index: MosaicIndex) -> None:
    _recent[index.identity["sha256"]] = index
    while len(_recent) > _KEPT:
        _recent.popitem(last=False)


def open_piece(path: str, scene: SceneOptions, alpha: AlphaOption) -> Any:
    """The source of a piece."""
    return open_source(path, alpha=alpha, scene=scene)


def _opened_info(path: str, scene: SceneOptions, alpha: AlphaOption) -> SourceInfo:
    with closing(open_piece(path, scene, alpha)) as source:
        info: SourceInfo = source.info
    return info


def _piece(info: SourceInfo, first: SourceInfo, scene: SceneOptions) -> _Piece:
    if differs := _differences(info, first):
        raise InputError(
            f"{info.path} can't be a piece of the mosaic of {first.path}: {differs}, and one model sees both: bring them to "
            "one form first, or leave it out"
        )
    place = placed(info, first)
    if place.fault and scene.align is None:
        raise InputError(
            f"{info.path} does not lie on the grid of {first.path}, the first of the mosaic: {place.fault}; use --align nearest "
            "or linear to bring it over, or leave it out"
        )
    box = footprint(info, first) if place.fault else place.box
    georef = require_placed(info)
    return _Piece(
        box=box,
        brought=bool(place.fault),
        mark=mark_of(info.identity),
        dtype=info.dtype,
        nodata=info.nodata,
        transform=georef.transform,
        block_bytes=int(info.facts.get("block_bytes", 0)),
        warnings=info.warnings,
    )


def _differences(info: SourceInfo, first: SourceInfo) -> str:
    """What keeps two files from being pieces of one scene, besides their places; empty where nothing does."""
    if info.channels != first.channels:
        own, other = (", ".join(i.channels[:6]) for i in (info, first))
        counts = len(info.channels), len(first.channels)
        return f"it has {counts[0]} channels ({own}) against {counts[1]} ({other})"
    count = len(info.channels)
    for name, neutral in (("scale", 1.0), ("offset", 0.0)):
        numbers = [getattr(i, name) or (neutral,) * count for i in (info, first)]
        if numbers[0] != numbers[1]:
            texts = (", ".join(f"{n:g}" for n in each[:6]) for each in numbers)
            return f"its {name} is " + " against ".join(texts)
    readings = [i.alpha and (i.alpha.reading, i.alpha.indices) for i in (info, first)]
    if readings[0] and readings[1] and readings[0] != readings[1]:
        return "its alpha is read otherwise"
    return ""


def _index(
    paths: Sequence[str],
    pieces: list[_Piece],
    order: list[int],
    first: SourceInfo,
    scene: SceneOptions,
) -> MosaicIndex:
    boxes = np.array([(*p.box.start, *p.box.stop) for p in pieces], np.int64)[order]
    start, stop = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    extent = tuple((stop - start).tolist())
    if max(extent) > _MOST_SIDE:
        middle = np.median(boxes[:, :2], axis=0)
        far = int(np.abs(boxes[:, :2] - middle).max(1).argmax())
        raise InputError(
            f"{paths[order[far]]} lies so far from the other pieces that their mosaic would be {extent[1]} x {extent[0]} "
            "pixels: check its georeference, or leave it out"
        )
    dtype = np.result_type(*{p.dtype for p in pieces})
    each = np.dtype(dtype).itemsize + 1
    brought = np.array([p.brought for p in pieces], bool)[order]
    one_nodata = len({p.nodata for p in pieces}) == 1
    return MosaicIndex(
        paths=tuple(paths[n] for n in order),
        boxes=boxes - np.concatenate([start, start]),
        brought=brought,
        marks=np.frombuffer(b"".join(pieces[n].mark for n in order), np.uint8).reshape(-1, 16),
        named=np.array(order, np.int64),
        whole={
            "extent": extent,
            "georef": georef_to_json(_georef(pieces, first, tuple(start.tolist()))),
            "dtype": dtype.name,
            "nodata": first.nodata if one_nodata else (None,) * len(first.channels),
            "order": scene.order,
            "align": scene.align,
            "block_bytes": max(p.block_bytes for p in pieces),
            # Of one piece at a time there are pixels besides those of the whole.
            "held_bytes": len(first.channels) * each * (1 + bool(brought.any())) + 1,
            "warnings": _warnings(paths, pieces),
        },
    )


def _georef(pieces: list[_Piece], first: SourceInfo, start: tuple[int, ...]) -> RasterGeoref:
    """That of the whole: of the piece in the corner where there is one, so that no number is computed; it does not depend on
    the order of the pieces."""
    georef = require_placed(first)
    there = [p.transform for p in pieces if not p.brought and p.box.start == start]
    if there:
        size = georef.transform
        a, b, _, d, e, _ = size
        corner = min(there)
        return _with_transform(georef, (a, b, corner[2], d, e, corner[5]))
    moved = shifted(georef, start)
    assert isinstance(moved, RasterGeoref)
    return moved


def _with_transform(georef: RasterGeoref, transform: tuple[float, ...]) -> RasterGeoref:
    from dataclasses import replace

    a, b, c, d, e, f = transform
    return replace(georef, transform=(a, b, c, d, e, f), rpcs=())


def _warnings(paths: Sequence[str], pieces: list[_Piece]) -> list[str]:
    """Each once, with the first file that it is of, and of how many more."""
    of: dict[str, list[int]] = {}
    for number, piece in enumerate(pieces):
        for line in piece.warnings:
            of.setdefault(line.replace(paths[number], "it"), []).append(number)
    told = [
        f"{paths[numbers[0]]}{f' and {len(numbers) - 1} more' * (len(numbers) > 1)}: {line}"
        for line, numbers in of.items()
    ]
    more = (
        [f"{len(told) - _MOST_WARNINGS} more kinds of warnings"]
        if len(told) > _MOST_WARNINGS
        else []
    )
    return [*told[:_MOST_WARNINGS], *more]


def _tags_of(path: str) -> dict[str, str]:
    """The metadata of a raster file; nothing of what GDAL does not open."""
    import rasterio
    from rasterio.errors import RasterioError

    from seg_batch.io.sources.formats.raster_opening import RASTERS

    driver = RASTERS.get(detect(path))
    if driver is None:
        return {}
    try:
        with rasterio.open(path, driver=driver, sharing=False) as file:
            tags: dict[str, str] = file.tags()
    except (RasterioError, OSError):
        return {}
    return tags


def _require_different(paths: Sequence[str]) -> None:
    seen = dict[str, str]()
    for path in paths:
        real = os.path.realpath(path)
        before = seen.get(real)
        seen[real] = path
        if before is not None:
            named = "is named twice" if before == path else f"and {shown(before)} are one file"
            raise InputError(f"{shown(path)} {named}: name each piece of the mosaic once")
