"""A real server of ranges on the loopback interface, whose faults can be switched while it runs."""

from __future__ import annotations

import random
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Behaviour:
    """``latency_s``: before each answer. ``failing``: the share of requests that fail, by one of ``faults`` in turn.
    ``etag`` and ``modified``: None for no such header. ``ranges``: whether ranges are heeded. ``redirect``: where to;
    ``signature``: what ``?sig=`` has to be. ``lie``: a false total size; ``cut``: bytes that each answer lacks, of ``cuts``
    answers; ``drip_s``: between two bytes. ``statuses``: of the next answers. ``gone_after``: so many requests are answered, and then
    connections are closed."""

    latency_s: float = 0.0
    failing: float = 0.0
    faults: tuple[str, ...] = ("503", "cut", "reset")
    etag: str | None = '"one"'
    modified: str | None = None
    ranges: bool = True
    redirect: str = ""
    signature: str = ""
    lie: int = 0
    cut: int = 0
    drip_s: float = 0.0
    statuses: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    gone_after: int | None = None
    before: Any = None  # called with the number of each request


class RangeServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, files: dict[str, bytes], behaviour: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.behaviour = files, behaviour
        self.requests: list[tuple[str, str]] = []  # path and range
        self.sent_bytes = self.connections = 0
        self.chance = random.Random(7)
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no fault here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: RangeServer

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        server, how = self.server, self.server.behaviour
        with server.lock:
            server.requests.append((self.path, self.headers.get("Range", "")))
            count = len(server.requests)
            fails = server.chance.random() < how.failing
            fault = how.faults[count % len(how.faults)] if fails else ""
            status = how.statuses.pop(0) if how.statuses else 0
        if how.before is not None:
            how.before(count)
        time.sleep(how.latency_s)
        if fault == "reset" or (how.gone_after is not None and count > how.gone_after):
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        if fault == "503" or status:
            self._empty(status or 503)
        elif how.redirect:
            self._empty(302, Location=how.redirect)
        else:
            self._file(how, 1 + how.cut if fault == "cut" else how.cut)

    def _file(self, how: Behaviour, cut: int) -> None:
        parts = urlsplit(self.path)
        content = self.server.files.get(parts.path)
        if how.signature and parse_qs(parts.query).get("sig") != [how.signature]:
            return self._empty(403)
        if content is None:
            return self._empty(404)
        if "If-Match" in self.headers and self.headers["If-Match"] != how.etag:
            return self._empty(412)
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if match is None or not how.ranges:
            return self._send(200, content, cut, how)
        start, stop = int(match[1]), min(int(match[2]) + 1, len(content))
        size = how.lie or len(content)
        if start >= len(content):
            return self._empty(416, **{"Content-Range": f"bytes */{size}"})
        span = {"Content-Range": f"bytes {start}-{stop - 1}/{size}"}
        return self._send(206, content[start:stop], cut, how, **span)

    def _empty(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, status: int, body: bytes, cut: int, how: Behaviour, **headers: str) -> None:
        self.send_response(status)
        named = {"ETag": how.etag, "Last-Modified": how.modified, **headers, **how.headers}
        for name, value in {"Content-Length": str(len(body)), **named}.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self.server.sent_bytes += len(body)
        if how.drip_s:
            for byte in body:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(how.drip_s)
        else:
            self.wfile.write(body[: len(body) - cut])
        if cut:
            self.close_connection = True


@contextmanager
def serving(files: dict[str, bytes], **behaviour: Any) -> Iterator[RangeServer]:
    """A server of these files, by their paths."""
    server = RangeServer(files, Behaviour(**behaviour))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
