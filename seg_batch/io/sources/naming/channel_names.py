"""What files say that their channels are: descriptions, tags, labels, wavelengths and colours."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from seg_batch.config.common_names import numbered, wavelength_in

MOST_CHANNELS = (
    1024  # more take longer to ask for their tags than a command that reads headers should
)
_NAME_TAGS = (
    "common_name",
    "eo:common_name",
    "name",
    "bandname",
    "band_name",
    "long_name",
    "description",
)
_LENGTH_TAGS = ("center_wavelength", "eo:center_wavelength", "central_wavelength_um", "wavelength",
                "central_wavelength", "wavelength_um", "wavelength_nm")  # fmt: skip
NAME_ARRAYS = ("common_name", "eo:common_name", "name", "long_name", "center_wavelength", "wavelength",
               "wavelength_units")  # fmt: skip
_UNIT_TAGS = ("wavelength_units", "wavelength_unit", "wavelength_unit_of_measure")
_TELLING = {"red", "green", "blue", "pan", "coastal", "rededge", "nir", "lwir"}
_USUAL = ["red", "green", "blue"]


@dataclass(frozen=True)
class ChannelNames:
    """What a file says that a channel is, the strongest first. ``weak``: what writers put there unasked
    (numbers in order, colours in the usual order): such a name tells where nothing else does."""

    names: tuple[str, ...] = ()
    weak: tuple[str, ...] = ()
    wavelength_um: float | None = None

    def __bool__(self) -> bool:
        return bool(self.names or self.weak or self.wavelength_um)


def raster_names(dataset: Any, index: Sequence[int]) -> tuple[ChannelNames, ...]:
    """Of the bands with these indices, from 0."""
    if dataset.count > MOST_CHANNELS:
        return ()
    items = {key.lower(): value for key, value in dataset.tags().items()}
    shared = _stac_bands(items.get("eo:bands") or items.get("bands"), dataset.count)
    named = []
    for b in dataset.indexes:
        tags = {**dataset.tags(b, ns="IMAGERY"), **dataset.tags(b)}
        own = from_tags({**shared[b - 1], **{key.lower(): text for key, text in tags.items()}})
        said = dataset.descriptions[b - 1]
        named.append(replace(own, names=(said, *own.names)) if said else own)
    coloured = with_colours(without_numbers(named), [c.name for c in dataset.colorinterp])
    return tuple(coloured[i] for i in index)


def _stac_bands(text: Any, count: int) -> list[dict[str, Any]]:
    """The entries of a STAC list of bands, as text or as a list; empty ones where it is none."""
    with suppress(ValueError, RecursionError):
        bands = json.loads(text) if isinstance(text, str) else text
        if isinstance(bands, list) and len(bands) == count:
            return [band if isinstance(band, dict) else {} for band in bands]
    return [{} for _ in range(count)]


def from_tags(tags: Mapping[str, Any]) -> ChannelNames:
    """From the items of one channel; keys in lower case. GDAL hands ``eo:common_name`` on as a text of ``eo``."""
    key, equals, value = str(tags.get("eo", "")).partition("=")
    tags = {**tags, f"eo:{key}": value} if equals else tags
    names = (str(tags[key]).strip() for key in _NAME_TAGS if tags.get(key) is not None)
    units = next((str(tags[key]) for key in _UNIT_TAGS if tags.get(key)), "")
    lengths = (_micrometres(key, tags[key], units) for key in _LENGTH_TAGS if tags.get(key))
    return ChannelNames(tuple(filter(None, names)), (), next(filter(None, lengths), None))


def _micrometres(key: str, value: Any, unit: str) -> float | None:
    text = str(value)
    with suppress(ValueError):
        number = float(text)
        if key.endswith("_nm") or unit.lower().startswith("n") or (not unit and number >= 100):
            number /= 1000
        return number if 0 < number < 1000 else None
    return wavelength_in(text)


def labelled(
    labels: Iterable[str], further: Sequence[Mapping[str, Any]] = ()
) -> tuple[ChannelNames, ...]:
    """Of channels with one label each; ``further``: more items of each, as for ``from_tags``."""
    named = [ChannelNames((label,) if label else ()) for label in labels]
    if further:
        more = map(from_tags, further)
        named = [replace(m, names=(*n.names, *m.names)) for n, m in zip(named, more, strict=True)]
    return tuple(without_numbers(named)) if len(named) <= MOST_CHANNELS else ()


def without_numbers(named: Sequence[ChannelNames]) -> list[ChannelNames]:
    """Without names that are but the number of the channel. ``B1``, ``B2``, ... in order may be a sensor's,
    or a writer's count: they are weak."""
    numbers = [[numbered(name) for name in each.names] for each in named]
    first = [next(filter(None, row), None) for row in numbers]
    counted = any(
        all(pair is not None and pair[1] == k for k, pair in enumerate(first, start))
        for start in (0, 1)
    )
    if all(first) and not counted:
        return list(named)
    return [
        _without(each, row, k, counted) for k, (each, row) in enumerate(zip(named, numbers, strict=True), 1)
    ]  # fmt: skip


def _without(
    each: ChannelNames, row: list[tuple[str, int] | None], k: int, counted: bool
) -> ChannelNames:
    kept, weak = list[str](), list[str]()
    for name, pair in zip(each.names, row, strict=True):
        if pair is None:
            kept.append(name)
            continue
        word, number = pair
        if word == "b":
            (weak if counted else kept).append(name)
        elif word == "band" and not counted and number != k:
            kept.append(name)
    return replace(each, names=tuple(kept), weak=tuple(weak))


def with_colours(named: Sequence[ChannelNames], colours: Sequence[str]) -> list[ChannelNames]:
    """With colour interpretations. Red, green and blue in this order and nothing else are what GDAL and
    others write by default, whatever the bands are: weak names."""
    said = [colour if colour in _TELLING else "" for colour in colours]
    usual = said[:3] == _USUAL and not any(said[3:])
    return [
        each if not colour
        else replace(each, weak=(*each.weak, colour)) if usual
        else replace(each, names=(*each.names, colour))
        for each, colour in zip(named, said, strict=True)
    ]  # fmt: skip


def words_of_file(name: str) -> tuple[str, ...]:
    """The names that the name of a file may hold: the whole, and each of a few words."""
    words = name.replace("-", "_").replace(" ", "_").split("_")
    return tuple(dict.fromkeys((name, *words))) if 1 < len(words) <= 6 else (name,)
