"""The bytes of a remote file that libraries ask for, kept for as long as they may be asked for again.

Two ways lead to them. What a read of pixels needs is known from the index of the file, and fetched in parallel before
(``Held.fetch``). All else, as headers and indices, comes in pages, more at a time where it is read from one end to the other.
"""

from __future__ import annotations

import io
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from seg_batch.core.errors import SegbatchError
from seg_batch.io.remote.ranges import Range
from seg_batch.io.remote.reader import RemoteFile

_PAGE_BYTES = 64 << 10
_MOST_AHEAD = 64  # pages
PAGES_BYTES = 16 << 20  # of a file that are kept
TILES_BYTES = 48 << 20


class Pages:
    """Pages of one file, those used last; for all readers of the process."""

    def __init__(self, file: RemoteFile) -> None:
        self.file = file
        self._pages: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, start: int, stop: int, ahead: int = 0) -> bytes:
        """Bytes of the file, as many of them as it has. ``ahead``: pages after them that are fetched with them."""
        stop = min(stop, self.file.size)
        if start >= stop:
            return b""
        first, last = start // _PAGE_BYTES, (stop - 1) // _PAGE_BYTES
        with self._lock:
            held = {
                page: self._used(page) for page in range(first, last + 1) if page in self._pages
            }
        missing = [page for page in range(first, last + 1) if page not in held]
        if missing:
            held |= self._fetched(missing[0], missing[-1] + 1 + ahead)
        whole = b"".join(held[page] for page in range(first, last + 1))
        return whole[start - first * _PAGE_BYTES : stop - first * _PAGE_BYTES]

    def _used(self, page: int) -> bytes:
        self._pages.move_to_end(page)
        return self._pages[page]

    def _fetched(self, first: int, stop: int) -> dict[int, bytes]:
        (whole,) = self.file.read_many([(first * _PAGE_BYTES, stop * _PAGE_BYTES)])
        count = -(-len(whole) // _PAGE_BYTES)
        got = {first + k: whole[k * _PAGE_BYTES : (k + 1) * _PAGE_BYTES] for k in range(count)}
        with self._lock:
            self._pages |= got
            while len(self._pages) * _PAGE_BYTES > PAGES_BYTES:
                self._pages.popitem(last=False)
        return got


class Tiles:
    """Ranges of one file as they were asked for, those used last: neighbouring windows share tiles."""

    def __init__(self, file: RemoteFile) -> None:
        self.file = file
        self._tiles: OrderedDict[Range, bytes] = OrderedDict()
        self._size, self._lock = 0, threading.Lock()

    def read(self, ranges: Sequence[Range]) -> dict[Range, bytes]:
        with self._lock:
            held = {each: self._tiles[each] for each in ranges if each in self._tiles}
            for each in held:
                self._tiles.move_to_end(each)
        missing = [each for each in ranges if each not in held]
        got = dict(zip(missing, self.file.read_many(missing), strict=True))
        with self._lock:
            for each, content in got.items():
                if each not in self._tiles:
                    self._tiles[each] = content
                    self._size += len(content)
            while self._size > TILES_BYTES:
                self._size -= len(self._tiles.popitem(last=False)[1])
        return held | got


class Held:
    """What one reader holds for its present read. ``fault``: why bytes did not come, for a library that tells no reasons."""

    def __init__(self, pages: Pages, tiles: Tiles) -> None:
        self.pages, self._tiles = pages, tiles
        self._starts, self._pieces = list[int](), list[bytes]()
        self.fault: SegbatchError | None = None

    def fetch(self, ranges: Sequence[Range]) -> None:
        """Fetch the ranges, in parallel, and hold them until ``drop``."""
        got = sorted(self._tiles.read(ranges).items())
        self._starts, self._pieces = [start for (start, _), _ in got], [piece for _, piece in got]

    def drop(self) -> None:
        self._starts, self._pieces = [], []

    def read(self, start: int, stop: int, ahead: int) -> bytes:
        at = bisect_right(self._starts, start) - 1
        if at >= 0 and stop <= self._starts[at] + len(self._pieces[at]):
            return self._pieces[at][start - self._starts[at] : stop - self._starts[at]]
        return self.pages.read(start, stop, ahead)


class Stream(io.RawIOBase):
    """A remote file as one of Python: ``read``, ``seek`` and ``tell``. ``for_gdal``: nothing is raised, and faults are kept
    in ``held``."""

    def __init__(self, held: Held, *, for_gdal: bool = False) -> None:
        self._held, self._for_gdal = held, for_gdal
        self._at, self._end, self._ahead = 0, -1, 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        size = self._held.pages.file.size
        self._at = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: size}[whence] + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        stop = self._held.pages.file.size if size < 0 else self._at + size
        onwards = self._at == self._end
        self._ahead = min(2 * self._ahead + 1, _MOST_AHEAD) if onwards else 0
        try:
            content = self._held.read(self._at, stop, self._ahead)
        except Exception as error:
            if not self._for_gdal:
                raise
            self._held.fault = (
                error if isinstance(error, SegbatchError) else SegbatchError(type(error).__name__)
            )
            return b""
        self._at += len(content)
        self._end = self._at
        return content

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
