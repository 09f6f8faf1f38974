"""Places of DICOM on a network, as people write them: who listens, who may send, and where products go."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

LOOPBACK = "127.0.0.1"
_TITLE = re.compile(r"[!-\[\]-~](?:[ -\[\]-~]{0,14}[!-\[\]-~])?")  # PS3.5 6.2: VR AE
_MOST_PORTS = 65535


@dataclass(frozen=True)
class DicomAddress:
    """An application entity: its title, and where it listens."""

    title: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.title}@{host}:{self.port}"


@dataclass(frozen=True)
class AllowedPeer:
    """Who may send. Empty: any title, any address."""

    title: str
    host: str


@dataclass(frozen=True)
class WebAddress:
    """Where a DICOMweb server takes instances (STOW-RS)."""

    url: str

    def __str__(self) -> str:
        return self.url


type Destination = DicomAddress | WebAddress


def parse_address(text: str) -> DicomAddress:
    """Of ``AE@HOST:PORT``; without a host: loopback. ``ValueError`` for another text."""
    title, at, place = text.rpartition("@")
    host, _, port = place.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or LOOPBACK
    plain = port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= _MOST_PORTS
    if not (at and plain and _TITLE.fullmatch(title)) or any(c.isspace() for c in host):
        raise ValueError(
            f"{text[:80]!r} is no DICOM address: write it like SEGBATCH@127.0.0.1:11112"
        )
    return DicomAddress(title, host, int(port))


def parse_allowed(text: str) -> AllowedPeer:
    """Of ``AE``, ``AE@ADDRESS`` or ``*@ADDRESS``. ``ValueError`` for another text."""
    title, _, host = text.partition("@")
    try:
        address = str(ipaddress.ip_address(host)) if host else ""
    except ValueError:
        address = None
    any_title = title == "*"
    if address is None or not (any_title or _TITLE.fullmatch(title)) or (any_title and not host):
        raise ValueError(
            f"{text[:80]!r} is nobody who sends: write a title like PACS, or PACS@192.0.2.7"
        )
    return AllowedPeer("" if any_title else title, address)


def parse_destination(text: str) -> Destination:
    """Of ``AE@HOST:PORT``, or of the address of a DICOMweb server, where plain http leads to this machine only.
    ``ValueError`` for another text."""
    if "://" not in text:
        return parse_address(text)
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        host = ""
    if not host or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
        raise ValueError(
            f"{text[:80]!r} is no address of a DICOMweb server: write https://host/dicom-web/studies"
        )
    if parts.username or parts.password:
        raise ValueError(
            "an address holds no user or password, as it is logged: use the variable of the token"
        )
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError(f"{text[:80]!r} would send images of patients in the clear: use https")
    return WebAddress(text.rstrip("/"))


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its name alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
