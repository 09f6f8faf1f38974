"""A remote file, read range by range: always the same version of it, tried again after faults that pass.

Every answer is held against the version that was found when the file was opened (its ETag, else its time and size), so
that bytes of two versions never meet. Redirects are followed on the same host alone.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from seg_batch.core.errors import ChangedError, InputError, UnreachableError
from seg_batch.io.remote.patience import Patience, one_try_s
from seg_batch.io.remote.places import BUCKETS, Place, place_of, require_scheme, shown
from seg_batch.io.remote.ranges import Range, merged, parted
from seg_batch.io.remote.transport import (
    PARALLEL,
    Answer,
    CertificateError,
    TransportError,
    UnknownHostError,
    get,
)

HEAD_BYTES = 64 << 10  # read when a file is opened
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 4
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")

Signer = Callable[[str], str]  # an address -> one that is signed, for a time


@dataclass(frozen=True)
class _Version:
    """What answers are held against. ``etag``: empty where the server names none, or for a weak one."""

    size: int
    etag: str
    modified: str

    @property
    def is_strong(self) -> bool:
        return bool(self.etag) and not self.etag.startswith("W/")

    def is_of(self, headers: Mapping[str, str], size: int | None) -> bool:
        if size is not None and size != self.size:
            return False
        if self.etag:
            return headers.get("ETag", self.etag) == self.etag
        return headers.get("Last-Modified", self.modified) == self.modified


class MissingError(InputError):
    """A host has no file at an address."""


class RemoteFile:
    """``size`` in bytes; ``identity``: what a resumed run compares; ``head``: its first bytes, at most 64 KiB;
    ``path``: its address without secrets. May be read by several threads at once."""

    def __init__(
        self,
        url: str,
        allow: tuple[str, ...],
        signer: Signer | None,
        head_bytes: int = HEAD_BYTES,
    ) -> None:
        self.place: Place = place_of(url)
        self.path = shown(url)
        require_scheme(self.place, allow)
        if self.place.scheme in BUCKETS:  # by the environment alone
            from seg_batch.io.remote.buckets import signed

            signer = signed
        self._url, self._signer = url, signer
        self._signed, self._signing = "", threading.Lock()
        self._version: _Version | None = None
        self.head = self._tried(0, head_bytes)

    @property
    def size(self) -> int:
        return self._known.size

    @property
    def _known(self) -> _Version:
        if self._version is None:
            raise ValueError(f"{self.path} is not open")
        return self._version

    @property
    def identity(self) -> dict[str, Any]:
        known = self._known
        if known.etag:
            return {"size": known.size, "etag": known.etag}
        if known.modified:
            return {"size": known.size, "last_modified": known.modified}
        return {"size": known.size, "sha256_head": hashlib.sha256(self.head).hexdigest()}

    @property
    def is_versioned(self) -> bool:
        """Whether the server says which version it sends."""
        return bool(self._known.etag or self._known.modified)

    def read(self, start: int, stop: int) -> bytes:
        """Bytes of ``start <= i < stop``, all of them. ``UnreachableError`` where they don't come for as long as reads are
        tried, ``ChangedError`` where the file is no longer the one that was opened, else ``InputError``."""
        start, stop = max(0, start), min(stop, self.size)
        if start >= stop:
            return b""
        if stop <= len(self.head):
            return self.head[start:stop]
        return self._tried(start, stop)

    def read_many(self, ranges: Sequence[Range]) -> list[bytes]:
        """The bytes of each range, read in parallel; ranges that lie close together are read as one."""
        whole = merged(ranges, self.size)
        pieces = [piece for each in whole for piece in parted(each)]
        got = dict(
            zip(pieces, _threads().map(lambda piece: self.read(*piece), pieces), strict=True)
        )
        joined = {each: b"".join(got[piece] for piece in parted(each)) for each in whole}
        starts = sorted(joined)

        def of(start: int, stop: int) -> bytes:
            stop = min(stop, self.size)
            if start >= stop:
                return b""
            around = next(each for each in reversed(starts) if each[0] <= start)
            return joined[around][start - around[0] : stop - around[0]]

        return [of(*each) for each in ranges]

    def _tried(self, start: int, stop: int) -> bytes:
        patience, signed_again = Patience(), False
        while True:
            try:
                answer, url = self._asked(start, stop)
            except CertificateError as error:
                raise InputError(
                    f"{self.path}: {self.place.host} is not read ({error}): check its name, or its certificate"
                ) from None
            except UnknownHostError as error:
                raise self._unreachable(str(error)) from None
            except TransportError as error:
                why, wait_s = str(error), 0.0
            else:
                if answer.status in (401, 403) and self._signer and not signed_again:
                    signed_again = True
                    self._sign_again(url)
                    continue
                if answer.status not in _PASSING:
                    body = self._checked(answer, start, stop)
                    if body is not None:
                        return body
                    why, wait_s = "its answer is cut short", 0.0
                else:
                    why, wait_s = f"it answers {answer.status}", _retry_after(answer)
            if not patience.wait(wait_s):
                raise self._unreachable(why)

    def _unreachable(self, why: str) -> UnreachableError:
        return UnreachableError(
            f"{self.path}: {self.place.host} can't be read ({why}): check the address and the network, then run "
            "the same command again"
        )

    def _asked(self, start: int, stop: int) -> tuple[Answer, str]:
        """The answer after redirects on the same host, and the signed address that was asked."""
        url = signed = self._address()
        headers = {"Range": f"bytes={start}-{stop - 1}"}
        if self._version is not None and self._version.is_strong:
            headers["If-Match"] = self._version.etag
        for _ in range(_MOST_REDIRECTS):
            answer = get(url, headers, stop - start, one_try_s(stop - start))
            if answer.status not in _REDIRECTS:
                return answer, signed
            url = self._redirected(url, answer.headers.get("Location", ""))
        raise InputError(
            f"{self.path}: {self.place.host} redirects in a circle: name the file where it lies"
        )

    def _redirected(self, url: str, to: str) -> str:
        target = urljoin(url, to)
        try:
            before, after = place_of(url), place_of(target)
        except InputError:
            after = None
        if not to or after is None or (after.scheme, after.host) != (before.scheme, before.host):
            named = shown(target) if after is not None else "nowhere"
            raise InputError(
                f"{self.path}: {self.place.host} redirects to {named}, and redirects to another host are not "
                "followed: if you trust that one, name the file there"
            )
        return target

    def _address(self) -> str:
        if self._signer is None:
            return self._url
        with self._signing:
            self._signed = self._signed or self._signer(self._url)
            return self._signed

    def _sign_again(self, old: str) -> None:
        with self._signing:
            if self._signed == old and self._signer is not None:  # no other thread did meanwhile
                self._signed = self._signer(self._url)

    def _checked(self, answer: Answer, start: int, stop: int) -> bytes | None:
        """The bytes of a whole answer of the right version; None where it is cut short."""
        if answer.status == 412:
            raise self._changed()
        if answer.status == 416:
            return self._outside(answer)
        if answer.status not in (200, 206):
            kind = MissingError if answer.status in (404, 410) else InputError
            raise kind(self._refusal(answer.status))
        if answer.status == 200:
            return self._whole(answer, start, stop)
        match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
        odd = match is None or match[1] is None or match[3] == "*" or int(match[1]) != start
        if match is None or odd or answer.is_longer:
            raise InputError(
                f"{self.path}: {self.place.host} answers with other bytes than were asked for: copy the file and give "
                "the copy"
            )
        size = int(match[3])
        self._require_version(answer, size)
        wanted = min(stop, size) - start
        if len(answer.body) < wanted:
            return None
        return answer.body[:wanted]

    def _whole(self, answer: Answer, start: int, stop: int) -> bytes | None:
        """Of a server that sends all of a file whatever is asked for; a small one is taken."""
        length = answer.headers.get("Content-Length", "")
        if start or answer.is_longer or not length.isdecimal() or int(length) > stop:
            raise InputError(
                f"{self.path}: {self.place.host} sends whole files only, no ranges of bytes, so that each block would read "
                "all of it: copy the file and give the copy"
            )
        self._require_version(answer, int(length))
        if len(answer.body) < int(length):
            return None
        if not answer.body:
            raise InputError(f"{self.path}: the file is empty; copy it again from its origin")
        return answer.body

    def _outside(self, answer: Answer) -> bytes:
        match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
        if self._version is not None:
            raise self._changed()
        if match is not None and match[3] == "0":
            raise InputError(f"{self.path}: the file is empty; copy it again from its origin")
        raise InputError(self._refusal(416))

    def _require_version(self, answer: Answer, size: int) -> None:
        if self._version is None:
            headers = answer.headers
            self._version = _Version(
                size, headers.get("ETag", ""), headers.get("Last-Modified", "")
            )
        elif not self._version.is_of(answer.headers, size):
            raise self._changed()

    def _changed(self) -> ChangedError:
        return ChangedError(f"{self.path} changed while it was read: run the same command again")

    def _refusal(self, status: int) -> str:
        host = self.place.host
        if status in (401, 403):
            if self._signer is not None or "?" in self._url:
                return f"{self.path}: {host} denies it ({status}): its signature may have expired, so sign it anew, or check the credentials in the environment"
            return f"{self.path}: {host} denies it ({status}): check the credentials in the environment, and the address"
        if status in (404, 410):
            return f"{self.path}: {host} has no such file ({status}); check the address"
        return f"{self.path}: {host} can't send it ({status}): check the address"


def open_remote(url: str, allow: tuple[str, ...] = (), signer: Signer | None = None) -> RemoteFile:
    """Open a remote file: its size, version and first bytes are read. ``allow``: hosts and buckets that ``--allow`` names;
    ``signer``: makes of the address one that is signed, and is called again in whichever process reads, once that one has
    expired. Errors as of ``RemoteFile.read``."""
    return RemoteFile(url, allow, signer)


def _retry_after(answer: Answer) -> float:
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else 0.0


_lock = threading.Lock()
_pool: dict[str, ThreadPoolExecutor] = {}


def _threads() -> ThreadPoolExecutor:
    with _lock:
        if "pool" not in _pool:
            _pool["pool"] = ThreadPoolExecutor(PARALLEL, "remote")
        return _pool["pool"]
