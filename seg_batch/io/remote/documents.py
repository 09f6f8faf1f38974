"""Whole JSON documents of files, hosts and buckets: bounded in size, tried again, from allowed places alone."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urljoin

from seg_batch.core.errors import InputError, UnreachableError
from seg_batch.io.remote.patience import Patience, one_try_s
from seg_batch.io.remote.places import (
    BUCKETS,
    is_remote,
    place_of,
    require_allowed,
    require_scheme,
    shown,
)
from seg_batch.io.remote.reader import open_remote
from seg_batch.io.remote.transport import (
    Answer,
    CertificateError,
    TransportError,
    UnknownHostError,
    fault_of,
    pool,
)

MOST_BYTES = 64 << 20
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 4
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_PIECE_BYTES = 32 << 10  # packed, it may be a thousand times as much


@dataclass(frozen=True)
class Documents:
    """A reader of documents. ``named``: hosts and buckets that the command itself names; ``allow``: those of ``--allow``."""

    named: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()

    def naming(self, url: str) -> Documents:
        """The same, with the host of an address that the command names."""
        return replace(self, named=(*self.named, place_of(url).name)) if is_remote(url) else self

    def require(self, url: str) -> None:
        """InputError, in one line with the remedy, for a place that may not be read."""
        place = place_of(url)
        require_allowed(place, (*self.named, *self.allow))
        require_scheme(place, self.allow)

    def read(self, path: str) -> dict[str, Any]:
        """The document of a file or an address; InputError where it can't be read or is no JSON object."""
        return parsed(self._local(path) if not is_remote(path) else self._remote(path), path)

    def post(self, url: str, body: Mapping[str, Any], method: str = "POST") -> bytes:
        """The answer of a host to a JSON body."""
        self.require(url)
        return _answer(url, method, json.dumps(body).encode())

    def _local(self, path: str) -> bytes:
        try:
            with open(path, "rb") as file:
                data = file.read(MOST_BYTES + 1)
        except OSError as error:
            raise InputError(f"{path} can't be read ({error.strerror}): check the path") from None
        if len(data) > MOST_BYTES:
            raise _too_large(path)
        return data

    def _remote(self, url: str) -> bytes:
        self.require(url)
        if place_of(url).scheme not in BUCKETS:
            return _answer(url, "GET", None)
        file = open_remote(url, (*self.named, *self.allow))
        if file.size > MOST_BYTES:
            raise _too_large(shown(url))
        return file.read(0, file.size)


def parsed(data: bytes, path: str) -> dict[str, Any]:
    """A JSON object; InputError where the bytes are none."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise InputError(
            f"{shown(path)} is no JSON object: check that it is the document that was meant"
        )
    return document


def _too_large(path: str) -> InputError:
    return InputError(
        f"{path} has more than {MOST_BYTES >> 20} MiB, which no item or catalogue has: name another"
    )


def _answer(url: str, method: str, body: bytes | None) -> bytes:
    """The body of an answer, after redirects on the same host, tried again after faults that pass."""
    patience, host = Patience(), place_of(url).host
    while True:
        try:
            answer = _followed(url, method, body)
        except CertificateError as error:
            raise InputError(
                f"{shown(url)}: {host} is not read ({error}): check its name, or its certificate"
            ) from None
        except UnknownHostError as error:
            raise _unreachable(url, host, str(error)) from None
        except TransportError as error:
            why = str(error)
        else:
            if answer.is_longer:
                raise _too_large(shown(url))
            if answer.status == 200:
                return answer.body
            if answer.status not in _PASSING:
                raise InputError(f"{shown(url)}: {host} answers {answer.status}: {_remedy(answer)}")
            why = f"it answers {answer.status}"
        if not patience.wait():
            raise _unreachable(url, host, why)


def _unreachable(url: str, host: str, why: str) -> UnreachableError:
    return UnreachableError(
        f"{shown(url)}: {host} can't be read ({why}): check the address and the network, then run the same command again"
    )


def _remedy(answer: Answer) -> str:
    if answer.status in (401, 403):
        return "check that it lets you in"
    return "check the address" if answer.status in (404, 410) else "check what is asked of it"


def _followed(url: str, method: str, body: bytes | None) -> Answer:
    for _ in range(_MOST_REDIRECTS):
        answer = _once(url, method, body)
        if answer.status not in _REDIRECTS:
            return answer
        target = urljoin(url, answer.headers.get("Location", ""))
        before = place_of(url)
        if not is_remote(target) or place_of(target).name != before.name:
            raise InputError(
                f"{shown(url)}: {before.host} redirects to {shown(target)}, and redirects to another host are not followed: "
                "if you trust that one, name it instead"
            )
        url = target
    raise InputError(f"{shown(url)}: it redirects in a circle: check the address")


def _once(url: str, method: str, body: bytes | None) -> Answer:
    import urllib3
    from urllib3.exceptions import HTTPError, LocationParseError, SSLError

    limit_s = one_try_s(MOST_BYTES)
    end, sent = time.monotonic() + limit_s, {"Content-Type": "application/json"} if body else {}
    try:
        response = pool().request(
            method,
            url,
            body=body,
            headers={"Accept": "application/geo+json, application/json", "User-Agent": "segbatch", **sent},
            redirect=False,
            retries=False,
            timeout=urllib3.Timeout(connect=min(10.0, limit_s), read=min(30.0, limit_s)),
            preload_content=False,
        )  # fmt: skip
        try:
            pieces, size = list[bytes](), 0
            # As it comes: one that drips would else hold a whole piece back, and with it the look at the clock.
            while piece := response.read1(_PIECE_BYTES, decode_content=True):
                pieces.append(piece)
                size += len(piece)
                if size > MOST_BYTES:
                    response.close()
                    return Answer(response.status, response.headers, b"", is_longer=True)
                if time.monotonic() > end:
                    response.close()
                    raise TransportError("its answer comes too slowly")
            return Answer(response.status, response.headers, b"".join(pieces))
        finally:
            response.release_conn()
    except SSLError:
        raise CertificateError("its certificate is not valid") from None
    except LocationParseError:
        raise TransportError("its address is none") from None
    except (HTTPError, OSError) as error:
        raise fault_of(error) from None
