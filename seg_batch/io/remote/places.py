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
    """The place of an address; InputError where it has no host or no key, or holds blanks."""
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower()
    odd = _ODD.search(url)
    try:
        parts = urlsplit(url)
        port = parts.port if scheme in ("https", "http") else None
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        host, port, odd = "", None, None
    if scheme not in SCHEMES or odd or not host or port == 0:
        raise InputError(
            f"{shown(url)!r:.200} is no address of a file: write it like https://host/folder/name or "
            "s3://bucket/folder/name, with %20 for a blank"
        )
    if scheme in BUCKETS:
        host, _, key = rest.partition("/")
        if re.search(r"[?#]", rest) or "@" in host:
            raise InputError(
                f"{shown(url)}: a bucket is named without user, query and fragment, and its keys without ? and #: "
                "put credentials into the environment"
            )
        return Place(scheme, host, key)
    if "@" in parts.netloc:
        raise InputError(
            f"{shown(url)}: it has a name or password before the host, which end up in lists of processes and logs: "
            "take a signed address, or a bucket with credentials in the environment"
        )
    return Place(scheme, host.lower(), parts.path.lstrip("/"))


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
