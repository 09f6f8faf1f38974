"""A file by https, streamed to disk and hashed. No other protocol is spoken, at the end of redirects neither."""

from __future__ import annotations

import hashlib
import http.client
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import InputError
from seg_batch.core.files import require_free_space, translate_os_errors
from seg_batch.core.units import duration, show_bytes, with_commas
from seg_batch.io.archive import Limit

CHUNK_BYTES = 1 << 18
SILENCE_S = 60.0  # without any bytes
SLOWEST = 1 << 10  # bytes per second, after this time


@dataclass(frozen=True)
class Fetched:
    """A file on this machine with its hash, and where it came from, without what only its sender may know."""

    path: Path
    sha256: str
    bytes: int
    address: str


def fetch(url: str, path: Path, limit: Limit, callback: Callback) -> Fetched:
    """Write what lies at ``url`` to the new file ``path``.

    InputError (one line) where it can't be had whole, by https alone, within the ``limit``; a part of it may be
    left in ``path`` then. OutputError where the disk refuses.
    """
    require_https(url)
    address = public(url)
    callback.on(events.Stage(f"fetching {address}"))
    with _faults(address):
        answer = _opener().open(Request(url, headers=_HEADERS), timeout=SILENCE_S)
    with answer, translate_os_errors(path), path.open("xb") as file:
        stated = _stated_bytes(answer)
        limit.require(stated or 0, address)
        require_free_space(path.parent, stated or 0)
        if stated:
            callback.on(events.StepsPlanned(stated))
        digest, total = hashlib.sha256(), 0
        for chunk in _chunks(answer, address):
            total += len(chunk)
            limit.require(total, address)
            digest.update(chunk)
            file.write(chunk)
            callback.on(events.Advanced(len(chunk)))
    if stated is not None and total != stated:
        raise InputError(
            f"{address}: the connection ended after {with_commas(total)} of {with_commas(stated)} bytes: "
            "nothing was kept, run the command again"
        )
    return Fetched(path, digest.hexdigest(), total, address)


def require_https(url: str) -> None:
    """InputError for an address that is not fetched."""
    parts = urlsplit(url)
    if parts.scheme.lower() != "https":
        plain = parts.scheme.lower() == "http"
        why = "anyone on its way could change the file" if plain else "only https is spoken"
        raise InputError(f"{public(url)} is not fetched, since {why}: give an https address")
    if "@" in parts.netloc:
        raise InputError(
            f"{public(url)}: the address holds a user or a password, which others would read in lists of "
            "processes: fetch the file with a program that keeps it, and add the file"
        )
    if not parts.hostname or any(ord(c) <= 32 or ord(c) > 126 for c in url):
        raise InputError(f"{public(url)} is no address: write one like https://host/path.zip")


def public(url: str) -> str:
    """The address without user, password, query and fragment, which may be secrets."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


_HEADERS = {"User-Agent": "segbatch", "Accept-Encoding": "identity"}


class _Redirects(HTTPRedirectHandler):
    max_redirections = 5

    def redirect_request(
        self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str
    ) -> Any:
        try:
            require_https(newurl)
        except InputError as error:
            raise InputError(f"{public(req.full_url)} leads elsewhere: {error.message}") from None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> OpenerDirector:
    """Of https alone, through the user's proxies, with the certificates of this machine or ``SSL_CERT_FILE``."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(),
        HTTPSHandler(context=ssl.create_default_context()),
        _Redirects(),
        HTTPDefaultErrorHandler(),
        HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _chunks(answer: Any, address: str) -> Iterator[bytes]:
    begun, total = time.monotonic(), 0
    while True:
        with _faults(address):
            chunk = answer.read1(CHUNK_BYTES)
        if not chunk:
            return
        total += len(chunk)
        passed = time.monotonic() - begun
        if passed > SILENCE_S and total < SLOWEST * passed:
            raise InputError(
                f"{address}: {show_bytes(total)} came in {duration(passed)}, so it would never end: try later"
            )
        yield chunk


def _stated_bytes(answer: Any) -> int | None:
    """The length that the server announced."""
    text = answer.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


@contextmanager
def _faults(address: str) -> Iterator[None]:
    """Faults of the net as InputError of one line."""
    try:
        yield
    except HTTPError as error:
        said = " ".join(str(error.reason).split())
        raise InputError(
            f"{address}: the server answers {error.code} ({said}): check the address"
        ) from None
    except (URLError, OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise InputError(
                f"{address}: who answers can't prove to be that server ({reason.verify_message}): check the "
                "address; an authority of your own is named by SSL_CERT_FILE"
            ) from None
        said = " ".join(str(reason).split()) or type(reason).__name__
        raise InputError(
            f"{address} can't be fetched ({said}): check the address and the network, and run the command again"
        ) from None
