"""Addresses of remote inputs, as text: which texts are some, and how they may be told.

What an address holds beside its place (a signature in the query, a name and a password before the host) is told
nowhere: not in errors, plans, journals, logs, reports or products.
"""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import unquote

from seg_batch.core.files import kind_of_address

SCHEMES = ("https", "http", "s3", "gs", "az")
_REMOTE = re.compile(rf"(?:{'|'.join(SCHEMES)})://", re.IGNORECASE)


def is_remote(text: str | os.PathLike[str]) -> bool:
    """Whether the text is an address that inputs may have beside paths of this machine."""
    return isinstance(text, str) and _REMOTE.match(text) is not None


def shown(text: str | os.PathLike[str]) -> str:
    """The text as it may be told: of an address without user, query and fragment; a path as it is."""
    if not isinstance(text, str) or not is_remote(text):
        return os.fsdecode(text)
    scheme, _, rest = text.partition("://")
    rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    host, slash, key = rest.partition("/")
    return f"{scheme.lower()}://{host.rpartition('@')[2]}{slash}{key}"


def told_of(value: Any) -> Any:
    """A value of JSON with every address in it as it may be told."""
    if isinstance(value, dict):
        return {key: told_of(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [told_of(each) for each in value]
    return shown(value) if isinstance(value, str) else value


def absolute(path: str) -> str:
    """The absolute path of a file of this machine; an address as it is."""
    return path if is_remote(path) else os.path.abspath(path)


def joined(folder: str, path: str) -> str:
    """A path that starts at a folder; an address as it is."""
    return path if is_remote(path) else os.path.join(folder, path)


def folder_and_name(path: str) -> tuple[str, str]:
    """As ``os.path.split``; of an address, its query is of neither."""
    return os.path.split(shown(path).rstrip("/") if is_remote(path) else path)


def name_in(path: str) -> str:
    """The last part of an address, without escapes."""
    name = unquote(folder_and_name(path)[1]).rpartition("/")[2].replace("\0", "")
    return name if name not in ("", ".", "..") else "input"


def why_no_input(path: str | os.PathLike[str]) -> str | None:
    """Why images can't be read from the address, in one line; None for a path of this machine, and for what is read remotely."""
    if (kind := kind_of_address(path)) is None or is_remote(path):
        return None
    return (
        f"{shown(path)}: {kind}, and images are read from paths of this machine, and from https, s3, gs and az addresses: "
        "name one of these"
    )


class Address(str):
    """An address that is shown without its secrets where something that holds it is shown (``repr``)."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(shown(str.__str__(self)))

    def __reduce__(self) -> tuple[type[Address], tuple[str]]:
        return Address, (str.__str__(self),)


def addressed(paths: tuple[str, ...]) -> tuple[str, ...]:
    """The same paths, with remote ones as ``Address``."""
    return tuple(Address(path) if is_remote(path) else path for path in paths)
