"""XML of products, of which nothing is expanded or fetched."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from seg_batch.core.errors import InputError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_DECLARED = re.compile(r"<!\s*(DOCTYPE|ENTITY)", re.IGNORECASE)


def parsed(content: bytes, where: str) -> Element:
    """The root of an XML file. InputError for one that declares a document type or entities, which may stand for other
    files or for gigabytes, and for one that is damaged."""
    from xml.etree import ElementTree

    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{where} is no UTF-8, so it is damaged; copy it again") from None
    if _DECLARED.search(text):
        raise InputError(
            f"{where} declares a document type or entities, which no product does: get it from its origin"
        )
    try:
        return ElementTree.fromstring(re.sub(r"^<\?xml[^>]*\?>", "", text.lstrip(), count=1))
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise InputError(
            f"{where} can't be read as XML ({error}); copy it again from its origin"
        ) from error


def all_named(root: Element, name: str) -> Iterator[Element]:
    """The elements of a name, in whatever namespace."""
    return (each for each in root.iter() if each.tag.rsplit("}", 1)[-1] == name)


def text_of(root: Element, name: str) -> str:
    """The text of the first element of a name; empty where there is none."""
    first = next(all_named(root, name), None)
    return "" if first is None else (first.text or "").strip()
