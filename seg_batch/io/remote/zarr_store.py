"""A Zarr store of another host or a bucket: each key is an object of its own, read by the hands that read files.

Nothing is listed, so what a group holds has to stand in its metadata. What chunks hold is not in the identity.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)
from zarr.core.buffer import Buffer, BufferPrototype

from seg_batch.core.privacy.addresses import shown
from seg_batch.io.remote.reader import MissingError, RemoteFile, Signer

_METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")
_AT_ONCE_BYTES = 4 << 20  # most chunks are smaller, and come with one request


class RemoteFolder:
    """What readers of Zarr ask of a folder. ``str`` of it may be told."""

    def __init__(self, url: str, allow: tuple[str, ...], signer: Signer | None = None) -> None:
        whole, mark, query = url.partition("?") if url.lower().startswith("http") else (url, "", "")
        self._whole, self._query = whole.rstrip("/"), mark + query
        self._allow, self._signer = allow, signer
        self.store = RemoteStore(self)

    def __str__(self) -> str:
        return shown(self._whole)

    def __truediv__(self, name: str) -> RemoteFolder:
        inner = RemoteFolder(f"{self._whole}/{name}{self._query}", self._allow, self._signer)
        inner.store.known = self.store.known
        return inner

    @property
    def parent(self) -> RemoteFolder:
        return RemoteFolder(
            f"{self._whole.rpartition('/')[0]}{self._query}", self._allow, self._signer
        )

    def file(self, key: str) -> RemoteFile:
        url = f"{self._whole}/{key}{self._query}"
        return RemoteFile(url, self._allow, self._signer, head_bytes=_AT_ONCE_BYTES)

    def identity(self) -> dict[str, Any]:
        """That of the metadata read so far; of chunks nothing is known."""
        text = json.dumps(sorted(self.store.known.items()))
        return {"sha256_metadata": hashlib.sha256(text.encode()).hexdigest(), "complete": False}


class RemoteStore(Store):
    """``known``: digests of the metadata that was read, by address."""

    supports_writes = supports_deletes = supports_listing = False

    def __init__(self, folder: RemoteFolder) -> None:
        super().__init__(read_only=True)
        self._folder = folder
        self.known: dict[str, str] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteStore) and str(other._folder) == str(self._folder)

    def __hash__(self) -> int:
        return hash(str(self._folder))

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        content = await asyncio.to_thread(self._read, key, byte_range)
        return None if content is None else prototype.buffer.from_bytes(content)

    def _read(self, key: str, byte_range: ByteRequest | None) -> bytes | None:
        try:
            file = self._folder.file(key)
        except MissingError:
            return None
        start, stop = _span(byte_range, file.size)
        content = file.read(start, stop)
        if key.rpartition("/")[2] in _METADATA:
            self.known[file.path] = hashlib.sha256(content).hexdigest()
        return content

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        return list(
            await asyncio.gather(*(self.get(key, prototype, each) for key, each in key_ranges))
        )

    async def exists(self, key: str) -> bool:
        return await asyncio.to_thread(self._read, key, RangeByteRequest(0, 1)) is not None

    async def set(self, key: str, value: Buffer) -> None:
        raise NotImplementedError("a remote store is read only")

    async def delete(self, key: str) -> None:
        raise NotImplementedError("a remote store is read only")

    async def list(self) -> AsyncIterator[str]:
        for key in tuple[str, ...]():
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        for key in tuple[str, ...]():
            yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        for key in tuple[str, ...]():
            yield key


def _span(asked: ByteRequest | None, size: int) -> tuple[int, int]:
    if isinstance(asked, RangeByteRequest):
        return asked.start, asked.end
    if isinstance(asked, OffsetByteRequest):
        return asked.offset, size
    if isinstance(asked, SuffixByteRequest):
        return max(0, size - asked.suffix), size
    return 0, size
