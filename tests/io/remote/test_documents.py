"""Documents of other hosts: an answer that drips ends in time."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from seg_batch.core.errors import UnreachableError
from seg_batch.io.remote.documents import Documents
from seg_batch.io.remote.patience import SECONDS


def test_an_answer_that_drips_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes long before a socket would give up."""
    monkeypatch.setenv(SECONDS, "0.5")
    over = threading.Event()

    def drip() -> None:
        near, _ = listener.accept()
        with near:
            near.recv(9999)
            near.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
            for _ in range(50):
                if over.wait(0.1):
                    return
                near.sendall(b" ")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        url, begin = f"http://127.0.0.1:{listener.getsockname()[1]}", time.monotonic()
        with pytest.raises(UnreachableError, match="too slowly"):
            Documents().naming(url).read(f"{url}/item.json")
        assert time.monotonic() - begin < 4
        over.set()
        thread.join()
