"""A file seen with what its STAC item says of its bands, as far as the file itself says nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.core.normalise import Pixels
from seg_batch.io.sources.naming.stac_item import AssetBands, StacItem
from seg_batch.io.sources.protocol import Source, SourceInfo
from seg_batch.io.sources.valid_mask import exactly, valid_mask
from seg_batch.io.sources.views.channels.selected import selected


def as_item_says(source: Source, item: StacItem, index: int) -> Source:
    """``source`` with names, scale, offset and nodata of the asset with this index. ``InputError`` where the item gives
    numbers for another number of bands than the file has."""
    asset, info = item.assets[index], source.info
    count = len(info.channels)
    fits = len(asset.labels) == count
    scale = info.scale or _each(info, asset, "scale")
    offset = info.offset or _each(info, asset, "offset")
    if info.scale or info.offset:
        scale, offset = info.scale, info.offset
    nodata = info.nodata
    if all(value is None for value in info.nodata) and asset.nodata:
        nodata = _each(info, asset, "nodata") or ()
    described = replace(
        info,
        channels=asset.labels if fits else info.channels,
        names=asset.names if fits else info.names,
        scale=scale,
        offset=offset,
        nodata=nodata,
        identity={**info.identity, "item": item.of_asset(index)},
        facts={**info.facts, "stac": item.told()},
        warnings=(*info.warnings, *item.warnings),
    )
    return ByItem(source, described)


def _each(info: SourceInfo, asset: AssetBands, name: str) -> Any:
    """One value for each channel; None where the item has none."""
    values, count = getattr(asset, name), len(info.channels)
    if not values or len(values) == count:
        return values or None
    if len({*values}) > 1:
        raise InputError(
            f"{info.path} has {count} bands, and its STAC item gives a {name} for each of {len(values)}: the item is of "
            "another file, or damaged"
        )
    return (values[0],) * count


class ByItem:
    """A source with the metadata of its item."""

    def __init__(self, source: Source, info: SourceInfo) -> None:
        self._source, self.info = source, info
        own, dtype = source.info, np.dtype(info.dtype)
        self._hides = info.nodata != own.nodata
        self._nodata = tuple(exactly(value, dtype) for value in info.nodata)
        if (reduced := getattr(source, "reduced", None)) is not None:
            self.reduced = lambda shape: self._of(reduced(shape))

    def read(self, box: Box) -> Pixels:
        return self._of(self._source.read(box))

    def _of(self, pixels: Pixels) -> Pixels:
        valid = pixels.valid
        if self._hides:
            shown = valid_mask(pixels.values, self._nodata)
            valid = shown if valid is None else valid if shown is None else valid & shown
        return Pixels(pixels.values, valid, self.info.scale, self.info.offset)

    def only(self, indices: tuple[int, ...], line: str = "") -> ByItem:
        return ByItem(selected(self._source, indices), self.info.of_channels(indices, line))

    def close(self) -> None:
        self._source.close()
