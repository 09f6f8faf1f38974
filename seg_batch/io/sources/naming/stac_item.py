"""What a STAC item says of one image: which scene it is, and what the bands of its assets are.

Bands are described by ``bands`` (STAC 1.1), or by ``eo:bands`` and ``raster:bands`` (1.0).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from seg_batch.io.sources.naming.channel_names import ChannelNames, from_tags

OFFSET_APPLIED = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")


@dataclass(frozen=True)
class AssetBands:
    """The bands of one asset; nothing where the item does not list them. ``labels``: a short name of each; ``names``: all that it
    says of each, the strongest first. ``scale``, ``offset`` and ``nodata``: one for all bands or one for each, or empty."""

    key: str
    href: str
    labels: tuple[str, ...] = ()
    names: tuple[ChannelNames, ...] = ()
    scale: tuple[float, ...] = ()
    offset: tuple[float, ...] = ()
    nodata: tuple[float | None, ...] = ()

    def by_own_names(self) -> AssetBands:
        """The same with the own name of each band before its common name, for models that call theirs by such."""
        names = tuple(
            replace(each, names=tuple(dict.fromkeys((label, *each.names))))
            for label, each in zip(self.labels, self.names, strict=True)
        )
        return replace(self, names=names)


@dataclass(frozen=True)
class StacItem:
    """``datetime``, ``start`` and ``end``: as the item says them, or empty. ``href``: where the item is, without secrets. ``assets``:
    those that make up the image, one for each of its files. ``warnings``: one line each."""

    id: str
    collection: str = ""
    href: str = ""
    datetime: str = ""
    start: str = ""
    end: str = ""
    assets: tuple[AssetBands, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """``collection/id``."""
        return f"{self.collection}/{self.id}" if self.collection else self.id

    @property
    def stem(self) -> str:
        """What products are called by."""
        return self.id.replace("/", "_")

    def told(self) -> dict[str, Any]:
        """For journals and reports, JSON-ready."""
        facts = {"id": self.id, "collection": self.collection, "datetime": self.datetime}
        facts |= {"start_datetime": self.start, "end_datetime": self.end, "href": self.href}
        assets = {asset.key: asset.href for asset in self.assets}
        return {key: text for key, text in facts.items() if text} | {"assets": assets}

    def of_asset(self, index: int) -> dict[str, Any]:
        """What pixels and products depend on, of one of the assets; JSON-ready."""
        plain = asdict(self)
        return {**plain, "assets": [plain["assets"][index]]}


def bands_of(
    key: str, asset: Mapping[str, Any], href: str, properties: Mapping[str, Any]
) -> AssetBands:
    """Of one asset of an item. ``href``: its place as it may be told. An offset that the item says was applied to the pixels
    already counts for nothing."""
    rows = _rows(asset)
    common = {name: asset[name] for name in ("scale", "offset", "nodata") if name in asset}
    common |= {n[7:]: asset[n] for n in ("raster:scale", "raster:offset") if n in asset}
    each = [{**common, **row} for row in rows] or ([common] if common else [])
    labels = tuple(str(row.get("name") or row.get("common_name") or key) for row in rows)
    names = tuple(map(from_tags, rows))
    if len(rows) <= 1:  # an asset of one band is called as the band is
        own = names[0] if names else ChannelNames()
        names = (ChannelNames((*own.names, key), own.weak, own.wavelength_um),)
        labels = labels or (key,)
    applied = any(properties.get(name) is True for name in OFFSET_APPLIED)
    return AssetBands(
        key,
        href,
        labels,
        names,
        _numbers(each, "scale", 1.0),
        () if applied else _numbers(each, "offset", 0.0),
        _nodata(each),
    )


def _rows(asset: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The items of each band, keys without the prefix of their extension."""
    said = [asset.get(name) for name in ("bands", "eo:bands", "raster:bands")]
    lists = [rows for rows in said if isinstance(rows, list) and rows]
    count = len(lists[0]) if lists else 0
    merged: list[dict[str, Any]] = [{} for _ in range(count)]
    for rows in lists:
        for whole, row in zip(merged, rows, strict=False):
            if len(rows) == count and isinstance(row, Mapping):
                whole |= {
                    str(k).lower().removeprefix("eo:").removeprefix("raster:"): v
                    for k, v in row.items()
                }
    return merged


def _numbers(rows: list[dict[str, Any]], name: str, neutral: float) -> tuple[float, ...]:
    """One number per band; empty where none changes anything."""
    numbers = [_number(row.get(name)) for row in rows]
    values = tuple(neutral if number is None else number for number in numbers)
    return () if {*values} <= {neutral} or (name == "scale" and not all(values)) else values


def _number(value: Any) -> float | None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good else None


def _nodata(rows: list[dict[str, Any]]) -> tuple[float | None, ...]:
    values = tuple(_number(row.get("nodata")) for row in rows)  # NaN is invalid in any case
    return () if all(value is None for value in values) else values
