"""A way to a server of this machine on which, when it is told so, the bytes of requests stop coming."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

_PIECE_BYTES = 64 << 10


class Stalling:
    """``most_bytes``: of all requests together, after which nothing goes on; None lets all through. ``stalled``: set then."""

    def __init__(self, url: str, most_bytes: int | None) -> None:
        place = urlsplit(url)
        self._target = (place.hostname or "", place.port or 0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.most_bytes, self.stalled = most_bytes, threading.Event()
        self._passed, self._lock = 0, threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
                threading.Thread(target=self._pass, args=(near, far, True), daemon=True).start()
                threading.Thread(target=self._pass, args=(far, near, False), daemon=True).start()

    def _pass(self, of: socket.socket, to: socket.socket, is_request: bool) -> None:
        with suppress(OSError):
            while piece := of.recv(_PIECE_BYTES):
                if is_request and self._is_over(len(piece)):
                    return self.stalled.set()
                to.sendall(piece)
            to.shutdown(socket.SHUT_WR)
        return None

    def _is_over(self, size: int) -> bool:
        with self._lock:
            self._passed += size
            return self.most_bytes is not None and self._passed > self.most_bytes


@contextmanager
def stalling(url: str, most_bytes: int | None = None) -> Iterator[Stalling]:
    """A way to the server at ``url``."""
    way = Stalling(url, most_bytes)
    try:
        yield way
    finally:
        way.close()
