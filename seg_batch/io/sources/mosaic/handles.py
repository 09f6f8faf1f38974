"""Open files of a mosaic: few at a time, those that were used last."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from seg_batch.io.sources.protocol import Source

MOST_OPEN = 24  # pieces; a block lies on few


@dataclass
class _Open:
    opening: threading.Lock = field(default_factory=threading.Lock)
    source: Source | None = None
    users: int = 0


class Handles:
    """Sources by number, opened by ``opener`` at their first use. Any thread may use them. The ``most`` used last stay open,
    besides those that are in use."""

    def __init__(self, opener: Callable[[int], Source], most: int = MOST_OPEN) -> None:
        self._opener, self._most = opener, most
        self._held: dict[int, _Open] = {}  # in the order of their last use
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def source(self, number: int) -> Iterator[Source]:
        """The source of this number, which is not closed within the context."""
        with self._lock:
            if self._closed:
                raise ValueError("a mosaic was read after it was closed")
            held = self._held.pop(number, None) or _Open()
            self._held[number] = held
            held.users += 1
        try:
            with held.opening:  # others may be opened meanwhile
                source = held.source = held.source or self._opener(number)
            yield source
        finally:
            with self._lock:
                held.users -= 1
                gone = self._to_close()
            _close(gone)

    def __len__(self) -> int:
        return len(self._held)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            gone = self._to_close()
        _close(gone)

    def _to_close(self) -> list[_Open]:
        """Idle ones beyond those that stay open, taken out."""
        most = 0 if self._closed else self._most
        idle = [number for number, held in self._held.items() if not held.users]
        return [self._held.pop(number) for number in idle[: max(0, len(self._held) - most)]]


def _close(gone: list[_Open]) -> None:
    for held in gone:
        if held.source is not None:
            held.source.close()
