"""The place of a remote file, and which places may be read."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from seg_batch.core.errors import InputError
from seg_batch.core.privacy.addresses import SCHEMES, is_remote, shown

__all__ = ["BUCKETS", "Place", "is_loopback", "is_remote", "place_of", "require_allowed", "shown"]

BUCKETS = ("s3", "gs", "az")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._$-]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ODD = re.compile(r"[\x00-\x20\x7f\\]")


@dataclass(frozen=True)
class Place:
    """``host``: with its port, where that is named; of a bucket its name. ``key``: the path, without a slash before it."""

    scheme: str
    host: str
    key: str

    @property
    def name(self) -> str:
        """As ``--allow`` names it: ``host``, ``http://host`` or ``s3://bucket``."""
        return self.host if self.scheme == "https" else f"{self.scheme}://{self.host}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}/{self.key}"


def place_of(url: str) -> Place:
    """The place of an address; InputError where it has no host, or holds what no address does."""
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower()
    return _in_bucket(scheme, rest, url) if scheme in BUCKETS else _on_host(scheme, url)


def _in_bucket(scheme: str, rest: str, url: str) -> Place:
    """A key is taken as it is written, also with blanks."""
    bucket, _, key = rest.partition("/")
    if re.search(r"[?#]", rest) or "@" in bucket:
        raise InputError(
            f"{shown(url)}: a bucket is named without user, query and fragment, and its keys without ? and #: "
            "put credentials into the environment"
        )
    if not _BUCKET.fullmatch(bucket) or _CONTROL.search(key):
        raise _no_address(url)
    if {".", ".."} & {*key.split("/")}:  # in an address of http, which it becomes, they lead there
        raise InputError(
            f"{shown(url)}: its key has . or .. in it, which may mean another bucket: write where the object is"
        )
    return Place(scheme, bucket, key)


def _on_host(scheme: str, url: str) -> Place:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _no_address(url) from None
    if "@" in parts.netloc and not _ODD.search(url):
        raise InputError(
            f"{shown(url)}: it has a name or password before the host, which end up in lists of processes and logs: "
            "take a signed address, or a bucket with credentials in the environment"
        )
    if scheme not in SCHEMES or _ODD.search(url) or not parts.hostname or port == 0:
        raise _no_address(url)
    return Place(scheme, parts.netloc.lower(), parts.path.lstrip("/"))


def _no_address(url: str) -> InputError:
    return InputError(
        f"{shown(url)!r:.200} is no address of a file: write it like https://host/folder/name or s3://bucket/folder/name, "
        "in the first with %20 for a blank"
    )


def is_loopback(host: str) -> bool:
    """Whether a host, with or without a port, is this machine."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def require_allowed(place: Place, allowed: tuple[str, ...]) -> None:
    """InputError, in one line with the remedy, unless a place is among the hosts and buckets that the command names."""
    if place.name not in {_named(text) for text in allowed}:
        raise InputError(
            f"{place}: nothing names {place.name}, so it is not read: if you trust it, use --allow {place.name}"
        )


def require_scheme(place: Place, allowed: tuple[str, ...]) -> None:
    """InputError for what would be read without encryption from another machine that ``--allow`` does not name so."""
    if place.scheme != "http" or is_loopback(place.host):
        return
    if place.name not in {_named(text) for text in allowed}:
        raise InputError(
            f"{place}: http is not encrypted, so anyone on the way could change what is read: use https, or "
            f"--allow {place.name}"
        )


def _named(text: str) -> str:
    """A host or bucket that ``--allow`` names, in the form of ``Place.name``."""
    scheme, parted, rest = text.strip().partition("://")
    if not parted:
        return scheme.rstrip("/").lower()
    scheme, host = scheme.lower(), rest.partition("/")[0]
    if scheme == "https":
        return host.lower()
    return f"{scheme}://{host if scheme in BUCKETS else host.lower()}"
