"""The assets of an item that make up one image: those that are named, those that hold a model's channels, or all data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from seg_batch.batch.inputs.stac.items import resolved
from seg_batch.config.card_parts.channels import Channels
from seg_batch.core.errors import InputError
from seg_batch.core.georef import RasterGeoref
from seg_batch.core.privacy.addresses import shown
from seg_batch.core.registry.formats import split
from seg_batch.io.sources.naming.stac_item import AssetBands, bands_of
from seg_batch.io.sources.protocol import SourceInfo
from seg_batch.io.sources.views.channels.by_name import Taken, taken_by_name

_NO_DATA = {"thumbnail", "overview", "metadata", "visual", "graphic", "snow-ice", "cloud", "iso-19115",
            "data-mask", "saturation", "date"}  # fmt: skip
_SHOWN = 20
# Media types of rasters, the one that is cheapest to read first.
_KINDS = ("cloud-optimized", "tiff", "jp2", "png", "jpeg")


def chosen(
    item: dict[str, Any], href: str, keys: Sequence[str], channels: Channels | None
) -> list[tuple[str, AssetBands]]:
    """The address and the bands of each asset of the image, in order. ``keys``: those that are asked for, or empty.
    InputError, in one line, where the item lacks one."""
    assets = item.get("assets")
    assets = {k: a for k, a in assets.items() if isinstance(a, dict)} if isinstance(assets, dict) else {}  # fmt: skip
    bands = {key: _bands_of(item, key, assets[key], href) for key in assets}
    if not keys:
        keys, bands = _for_channels(assets, bands, channels)
    for key in keys:
        if not isinstance(assets.get(key, {}).get("href"), str):
            raise InputError(f"there is no asset {key!r}: it has {_listed(assets)}")
    return [(resolved(assets[key]["href"], href), bands[key]) for key in keys]


def _bands_of(item: dict[str, Any], key: str, asset: dict[str, Any], href: str) -> AssetBands:
    properties, place = item.get("properties"), asset.get("href")
    try:
        place = shown(resolved(place, href)) if isinstance(place, str) else ""
    except InputError:
        place = ""  # of no place that is read
    return bands_of(key, asset, place, properties if isinstance(properties, dict) else {})


def _listed(assets: dict[str, Any]) -> str:
    names = ", ".join(list(assets)[:_SHOWN]) + ", ..." * (len(assets) > _SHOWN)
    return names or "none at all"


def _for_channels(
    assets: dict[str, Any], bands: dict[str, AssetBands], channels: Channels | None
) -> tuple[list[str], dict[str, AssetBands]]:
    """The keys of the assets that hold the channels of a model, by name, in its order; all data where names tell nothing. And
    the bands with the names by which they were found."""
    data = _data(assets)
    if not data:
        raise InputError(
            f"no asset is a raster of data: name some with assets, of {_listed(assets)}"
        )
    if channels is None:
        return data, bands
    taken = _taken([bands[key] for key in data], channels)
    if not taken.indices and not taken.missing and not taken.fault:
        bands = {key: each.by_own_names() for key, each in bands.items()}
        taken = _taken([bands[key] for key in data], channels)
    if taken.missing:
        raise InputError(
            f"no asset is the channel {' or '.join(taken.missing)} of the model: name those to take with assets, of {_listed(assets)}"
        )
    if taken.fault:
        raise InputError(f"{taken.fault}: name those to take with assets, of {_listed(assets)}")
    if taken.indices is None:
        return data, bands
    of_band = [key for key in data for _ in bands[key].labels]
    return list(dict.fromkeys(of_band[index] for index in taken.indices)), bands


def _taken(bands: list[AssetBands], channels: Channels) -> Taken:
    """As of an image with the bands of all these assets."""
    labels = tuple(label for each in bands for label in each.labels)
    names = tuple(name for each in bands for name in each.names)
    info = SourceInfo(
        "", "", "raster", (1, 1), labels, "float32", RasterGeoref(), (1, 1), names=names
    )
    return taken_by_name(info, channels)


def _data(assets: dict[str, Any]) -> list[str]:
    """The keys of rasters with data. Of several with the same bands, as COG and as JPEG 2000, the one that is cheapest to read."""
    ranked = [(rank, key) for key, a in assets.items() if (rank := _rank(a)) is not None]
    best = dict[object, tuple[int, str]]()
    for rank, key in ranked:
        bands = assets[key].get("bands") or assets[key].get("eo:bands")
        named = repr(bands) if isinstance(bands, list) and bands else key
        if named not in best or rank < best[named][0]:
            best[named] = (rank, key)
    kept = {key for _, key in best.values()}
    return [key for _, key in ranked if key in kept]


def _rank(asset: dict[str, Any]) -> int | None:
    """How cheap it is to read; None for what is no raster of data."""
    roles, kind = asset.get("roles"), str(asset.get("type") or "").lower()
    href = asset.get("href")
    if not isinstance(href, str) or (isinstance(roles, list) and _NO_DATA & {*map(str, roles)}):
        return None
    if roles and "data" not in roles and "reflectance" not in roles:
        return None
    for rank, word in enumerate(_KINDS):
        if word in kind:
            return rank
    return len(_KINDS) if not kind and split(shown(href))[1] else None
