"""The items of a document: one item, a collection of some, or a catalogue with all that is below it."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from seg_batch.core.errors import InputError, SegbatchError
from seg_batch.core.privacy.addresses import is_remote, shown
from seg_batch.io.remote.documents import Documents
from seg_batch.io.remote.places import BUCKETS

MOST_DEEP = 12  # folders of a catalogue
MOST_ITEMS = 100_000


@dataclass(frozen=True)
class FoundItem:
    """An item, where its relative addresses start; or why there is none at ``href``."""

    href: str
    item: dict[str, Any]
    fault: str = ""


def items_at(path: str, documents: Documents) -> Iterator[FoundItem]:
    """All items of a file or an address, each once. What can't be read is a fault of its own, so that others go on."""
    seen = set[str]()
    waiting = [(path, 0)]
    while waiting:
        href, depth = waiting.pop()
        if href in seen:
            continue
        seen.add(href)
        if len(seen) > MOST_ITEMS:
            yield FoundItem(
                path,
                {},
                f"{shown(path)}: it has more than {MOST_ITEMS} documents: name a part of it",
            )
            return
        try:
            document = documents.read(href)
            found, below = _inside(document, href)
        except SegbatchError as error:
            yield FoundItem(href, {}, error.message)
            continue
        yield from found
        if below and depth == MOST_DEEP:
            yield FoundItem(
                href, {}, f"{shown(href)}: it lies {MOST_DEEP} catalogues deep: name it itself"
            )
            continue
        waiting += [(each, depth + 1) for each in reversed(below)]  # fmt: skip


def _inside(document: dict[str, Any], href: str) -> tuple[list[FoundItem], list[str]]:
    """The items of a document, and the documents that it leads to."""
    kind = document.get("type")
    if kind == "Feature":
        return [FoundItem(href, document)], []
    if kind == "FeatureCollection" and isinstance(document.get("features"), list):
        features = [item for item in document["features"] if isinstance(item, dict)]
        return [FoundItem(own_place(item, href), item) for item in features], []
    if kind in ("Catalog", "Collection"):
        return [], [resolved(link, href) for link in links(document, "item", "child")]
    raise InputError(
        f"{shown(href)} is no STAC item, collection of items or catalogue: check that it is the document that was meant"
    )


def links(document: dict[str, Any], *rels: str) -> Iterator[str]:
    """The addresses of a document's links with one of these meanings."""
    rows = document.get("links")
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and row.get("rel") in rels and isinstance(row.get("href"), str):
            yield row["href"]


def own_place(item: dict[str, Any], href: str) -> str:
    """Where an item is that came in a document of several: where it says, if that is on the same side of the network."""
    own = next(links(item, "self"), "")
    return own if is_remote(own) else href


def _joined(base: str, href: str) -> str:
    """As of addresses of https; also of buckets, which the library does not know to have folders. A key has no escapes."""
    scheme, _, rest = base.partition("://")
    if scheme.lower() not in BUCKETS or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", href):
        return urljoin(base, href)
    bucket, _, key = rest.partition("/")
    path = href.lstrip("/") if href.startswith("/") else f"{key.rpartition('/')[0]}/{href}"
    inside = posixpath.normpath(f"/{unquote(path)}")
    return f"{scheme}://{bucket}/{inside.lstrip('/')}"


def resolved(href: str, base: str) -> str:
    """An address as it is meant in the document at ``base``. InputError for one that leads from a network to this machine."""
    if is_remote(href):
        return href
    if is_remote(base):
        target = _joined(base, href)
        if is_remote(target) and not href.startswith(("//", "file:")):
            return target
        raise InputError(
            f"{shown(base)}: it leads to {shown(href)[:120]}, which is no place on its host: it is damaged, or not to be trusted"
        )
    if urlsplit(href).scheme == "file":
        href = unquote(urlsplit(href).path)
    if "\0" in href:
        raise InputError(f"{base}: a path in it holds a zero byte: it is damaged")
    return os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(base)), href))
