"""One request for a range of bytes over HTTP, and what came of it.

Redirects are not followed here, nothing is tried again, and no more is taken than was asked for.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PARALLEL = 16  # requests of one process
_CONNECT_S = 10.0
_SILENT_S = 15.0  # between two pieces of an answer
_PIECE_BYTES = 256 << 10


class TransportError(Exception):
    """No whole answer came. The words name no address: those of libraries hold its secrets."""


class UnknownHostError(TransportError):
    """No host has this name, so another try is of no use."""


class CertificateError(TransportError):
    """The host can't prove that it is the one that is meant."""


@dataclass(frozen=True)
class Answer:
    """``body``: at most the bytes that were asked for; empty unless the status is that of content."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    is_longer: bool = False


def get(url: str, headers: dict[str, str], most_bytes: int, limit_s: float) -> Answer:
    """The answer to a GET. ``most_bytes``: of its body, of which the rest is left; ``limit_s``: for all of it.
    TransportError where no whole one came."""
    import urllib3
    from urllib3.exceptions import HTTPError, LocationParseError, SSLError

    end = time.monotonic() + limit_s
    timeout = urllib3.Timeout(connect=min(_CONNECT_S, limit_s), read=min(_SILENT_S, limit_s))
    try:
        response = pool().request(
            "GET",
            url,
            headers={"Accept-Encoding": "identity", "User-Agent": "segbatch", **headers},
            redirect=False,
            retries=False,
            timeout=timeout,
            preload_content=False,
            decode_content=False,
        )
        whole = False
        try:
            if response.status not in (200, 206):
                return Answer(response.status, response.headers)
            answer = _content(response, most_bytes, end)
            whole = not answer.is_longer
            return answer
        finally:
            if not whole:  # what is left of an answer is no beginning of the next
                response.close()
            response.release_conn()
    except SSLError:
        raise CertificateError("its certificate is not valid") from None
    except LocationParseError:
        raise TransportError("its address is none") from None
    except (HTTPError, OSError) as error:
        raise fault_of(error) from None


def _content(response: Any, most_bytes: int, end: float) -> Answer:
    pieces, size = list[bytes](), 0
    while size <= most_bytes:
        piece = response.read1(min(_PIECE_BYTES, most_bytes + 1 - size))
        if not piece:
            break
        pieces.append(piece)
        size += len(piece)
        if time.monotonic() > end:
            raise TransportError("its answer comes too slowly")
    body = b"".join(pieces)
    return Answer(response.status, response.headers, body[:most_bytes], size > most_bytes)


def fault_of(error: BaseException) -> TransportError:
    """What went wrong, of fixed words."""
    cause = error.__cause__
    if isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME:
        return UnknownHostError("its name is not known")
    kinds = {
        "NameResolutionError": "its name is not known",
        "ConnectTimeoutError": "it does not answer",
        "ReadTimeoutError": "its answer stops coming",
        "IncompleteRead": "its answer is cut short",
        "InvalidChunkLength": "its answer is cut short",
        "ProtocolError": "it breaks the connection off",
        "NewConnectionError": "it takes no connection",
    }
    words = (kinds[c.__name__] for c in type(error).__mro__ if c.__name__ in kinds)
    return TransportError(next(words, "the network fails"))


_lock = threading.Lock()
_pools: dict[int, Any] = {}  # by process: connections are not for children


def pool() -> Any:
    import urllib3

    with _lock:
        if (known := _pools.get(os.getpid())) is None:
            known = _pools[os.getpid()] = urllib3.PoolManager(num_pools=64, maxsize=PARALLEL)
        return known
