"""Bundles that pass every check and need no Keras to be made, and a real server that is reached by https."""

from __future__ import annotations

import hashlib
import io
import json
import ssl
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from seg_batch.config.card import ModelCard

LAYER = {"module": "keras.layers", "class_name": "Conv2D", "config": {"name": "c"}}


def keras_file(*layers: dict[str, Any], config: str = "", seed: int = 0) -> bytes:
    """A ``.keras`` file with these layers in its configuration, and no weights that anything could load."""
    network = {"module": "keras", "class_name": "Functional", "config": {"layers": list(layers)}}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr(zipfile.ZipInfo("config.json"), config or json.dumps(network))
        packed.writestr(zipfile.ZipInfo("model.weights.h5"), bytes([seed]) * 1000)
    return file.getvalue()


def files_of(name: str = "toy", *, network: bytes | None = None, **facts: Any) -> dict[str, bytes]:
    """The files of a bundle by name."""
    network = keras_file(LAYER) if network is None else network
    card = ModelCard.model_validate(
        {
            "name": name,
            "kind": "raster",
            "rank": 2,
            "channels": ("red", "nir"),
            "classes": ({"id": 0, "name": "land"}, {"id": 1, "name": "water"}),
            "normalisation": {"kind": "identity"},
            "licence": "CC0-1.0",
            "scores": {
                "test": {"overall": {"accuracy": {"mean": 0.75}, "mean_dice": {"mean": 0.5}}}
            },
            "weights_sha256": hashlib.sha256(network).hexdigest(),
            **facts,
        }
    )
    return {"card.json": card.model_dump_json().encode(), "model.keras": network}


def written(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def zipped(path: Path, files: dict[str, bytes], top: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as packed:
        for name, data in files.items():
            packed.writestr(top + name, data)
    return path


def tarred(path: Path, files: dict[str, bytes], top: str = "", mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as packed:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(top + name)
            info.size = len(data)
            packed.addfile(info, io.BytesIO(data))
    return path


Answer = Callable[[BaseHTTPRequestHandler], None]


def sending(data: bytes, length: int | None = None) -> Answer:
    """An answer of these bytes; ``length``: what it states of them."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(data) if length is None else length))
        request.end_headers()
        request.wfile.write(data)

    return answer


def leading(to: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Location", to)
        request.end_headers()

    return answer


class Server(ThreadingHTTPServer):
    """Answers by path; what is not among ``answers`` is 404. ``asked``: the paths so far."""

    daemon_threads = True

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, *_: Any) -> None:  # a client that hangs up is what some tests are about
        pass


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        answer = self.server.answers.get(self.path.partition("?")[0])
        if answer is None:
            self.send_error(404)
        else:
            answer(self)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(certificates: Path | None = None) -> Iterator[tuple[Server, str]]:
    """A server and its address: https with the scheduler's certificate of a set, else http."""
    server = Server()
    if certificates is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        names = (certificates / f"scheduler{end}.pem" for end in ("", "-key"))
        context.load_cert_chain(*names)
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    )
    thread.start()
    try:
        yield server, f"http{'s' if certificates else ''}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
