"""The inputs of ``inputs.stac``: one for each item."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from seg_batch.batch.inputs.stac.assets import chosen
from seg_batch.batch.inputs.stac.items import FoundItem, items_at
from seg_batch.batch.inputs.stac.search import found_by
from seg_batch.batch.inputs.tables import InputSpec
from seg_batch.config.card_parts.channels import Channels
from seg_batch.config.workflow.stac import StacSettings
from seg_batch.core.errors import InputError, SegbatchError
from seg_batch.core.privacy.addresses import is_remote, shown
from seg_batch.io.remote.documents import Documents
from seg_batch.io.sources.naming.stac_item import OFFSET_APPLIED, StacItem

WHERE = "inputs.stac"
_LONGEST = 200


def specs_of_items(
    settings: StacSettings, allow: tuple[str, ...], channels: Channels | None
) -> Iterator[InputSpec]:
    """An input for each item; one with an error for what can't be one. ``allow``: hosts and buckets that may be read beside
    those that the workflow names; ``channels``: of the model, where they are known."""
    documents = Documents(allow=allow)
    for path in settings.items:
        of_path = documents.naming(path)
        for n, found in enumerate(items_at(path, of_path)):
            if settings.limit is not None and n >= settings.limit:
                yield _more(path, settings.limit)
                break
            yield _spec(found, settings, of_path, channels)
    if settings.api is None:
        return
    of_api = documents.naming(settings.api)
    try:
        items, more = found_by(settings, of_api)
    except SegbatchError as error:
        yield InputSpec(shown(settings.api), WHERE, error=error.message)
        return
    if not items:
        why = f"{shown(settings.api)}: the search finds no item: check collections, bbox, datetime and query"
        yield InputSpec(shown(settings.api), WHERE, error=why)
    for found in items:
        yield _spec(found, settings, of_api, channels)
    if more:
        yield _more(settings.api, settings.limit or 0)


def _more(path: str, limit: int) -> InputSpec:
    return InputSpec(shown(path), WHERE, left_out=f"there are more items than the limit of {limit}")


def _spec(
    found: FoundItem, settings: StacSettings, documents: Documents, channels: Channels | None
) -> InputSpec:
    called = shown(found.href)
    try:
        if found.fault:
            raise InputError(found.fault)
        name, collection = _names(found.item, called)
        called = f"{collection}/{name}" if collection else name
        assets = chosen(found.item, found.href, settings.assets, channels)
        for place, _ in assets:
            if is_remote(place):
                documents.require(place)
    except SegbatchError as error:
        why = error.message if error.message.startswith(called) else f"{called}: {error.message}"
        return InputSpec(called, WHERE, error=why)
    item = _facts(found, name, collection)
    path, *more = (place for place, _ in assets)
    bands = tuple(each for _, each in assets)
    item = StacItem(**{**vars(item), "assets": bands})
    return InputSpec(path, WHERE, more=tuple(more), id=name, item=item)


def _names(item: dict[str, Any], called: str) -> tuple[str, str]:
    """The id and the collection of an item; InputError where it has no id that can be told."""
    name, collection = item.get("id"), item.get("collection") or ""
    if item.get("type") != "Feature" or not isinstance(name, str) or not name.strip():
        raise InputError(f"{called}: it is no STAC item, which has a type and an id: check it")
    if len(name) > _LONGEST or not name.isprintable():
        raise InputError(f"{called}: its id {name[:40]!r} is no name: check it")
    good = isinstance(collection, str) and collection.isprintable() and len(collection) <= _LONGEST
    return name, collection if good else ""


def _facts(found: FoundItem, name: str, collection: str) -> StacItem:
    properties = found.item.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    times = (properties.get(key) for key in ("datetime", "start_datetime", "end_datetime"))
    when, start, end = (str(text) if isinstance(text, str) else "" for text in times)
    applied = any(properties.get(key) is True for key in OFFSET_APPLIED)
    line = "its STAC item says that the offset of its bands was applied to the pixels already, so none is added"
    return StacItem(
        name, collection, shown(found.href), when, start, end, (), (line,) if applied else ()
    )
