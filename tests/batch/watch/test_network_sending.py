"""Sending of products: C-STORE and STOW-RS to real servers on loopback, and an outbox that survives kills."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from seg_batch.batch.watch.outbox import Outbox
from seg_batch.config.workflow.dicom_addresses import (
    LOOPBACK,
    DicomAddress,
    WebAddress,
    parse_destination,
)
from seg_batch.core.run_files import OUTBOX, SENT
from seg_batch.io.dicom.network.sending import TOKEN, Sender, SendError, sop_uid_of
from seg_batch.io.dicom.network.storage_scp import StorageSCP
from tests.batch.watch.test_network_receiving import LIMITS, listening, received
from tests.support.dicom_files import write_series
from tests.support.patience import until

pytestmark = pytest.mark.full  # left to make test: whole runs, or many networks

SHAPE = (3, 9, 7)


@pytest.fixture
def product(tmp_path: Path) -> Path:
    write_series(tmp_path / "made", SHAPE)
    return tmp_path / "made" / "0000"


def free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as server:
        return int(server.getsockname()[1])


def outbox(folder: Path, *places: Any, said: list[str] | None = None) -> Outbox:
    return Outbox(folder, places, Sender().send, (said if said is not None else []).append)


def to(scp: StorageSCP) -> DicomAddress:
    return DicomAddress("SEG", LOOPBACK, scp.port)


def test_a_product_is_sent_once_whatever_is_asked_again(tmp_path: Path, product: Path) -> None:
    (tmp_path / "pacs").mkdir()
    said: list[str] = []
    with listening(tmp_path / "pacs") as scp:
        for _ in range(2):
            with outbox(tmp_path, to(scp), said=said) as box:
                box.add([product])
                box.add([product])
                until(lambda box=box: not box.unsent)
        (there,) = received(tmp_path / "pacs")
    assert pydicom.dcmread(there) == pydicom.dcmread(product)
    assert [line.partition(" ")[0] for line in said] == ["sent"]
    assert not list((tmp_path / OUTBOX).iterdir())


def test_what_could_not_be_sent_is_sent_after_the_next_start(tmp_path: Path, product: Path) -> None:
    (tmp_path / "pacs").mkdir()
    place = DicomAddress("SEG", LOOPBACK, free_port())
    said: list[str] = []
    with outbox(tmp_path, place, said=said) as box:
        box.add([product])
        until(lambda: said, "a failure")
        assert box.unsent == 1
    assert "it can't be reached; it is tried again" in said[0]
    scp = StorageSCP(place, tmp_path / "pacs", limits=LIMITS)
    scp.start()
    try:
        with (tmp_path / SENT).open("ab") as torn:
            torn.write(b'{"key": "abc')
        with outbox(tmp_path, place) as box:
            until(lambda: not box.unsent)
        with outbox(tmp_path, place) as box:
            box.add([product])
            assert not box.unsent, "it is known as sent behind the torn line"
    finally:
        scp.close()
    assert len(received(tmp_path / "pacs")) == 1


def test_what_is_no_dicom_or_another_file_now_is_not_sent(tmp_path: Path, product: Path) -> None:
    said: list[str] = []
    with socket.socket() as silent, ExitStack() as opened:
        silent.bind((LOOPBACK, 0))  # nobody listens there
        place = DicomAddress("SEG", LOOPBACK, silent.getsockname()[1])
        box = opened.enter_context(outbox(tmp_path, place, said=said))
        (tmp_path / "x.nii").write_bytes(bytes(400))
        box.add([tmp_path / "x.nii", tmp_path / "none"])
        assert not box.unsent
        box.add([product])
        shutil.copy(product.with_name("0001"), product)
        until(lambda: not box.unsent)
    assert "none of the products is DICOM" in said[0]
    assert "is gone or another one now" in said[-1]


@pytest.mark.parametrize("left", [b"", None])
def test_what_is_replaced_while_it_is_sent_is_not_waited_for(
    tmp_path: Path, product: Path, left: bytes | None
) -> None:
    """By half a copy, or by another file: neither is what was refused."""
    other, said = product.with_name("0001").read_bytes(), list[str]()

    def refused_meanwhile(path: Path, to: Any) -> None:
        path.write_bytes(other if left is None else left)
        raise SendError("it takes no such objects", passes=False)

    place = DicomAddress("SEG", LOOPBACK, 9)
    with Outbox(tmp_path, [place], refused_meanwhile, said.append) as box:
        box.add([product])
        until(lambda: not box.unsent)
    assert said == [f"{product} is gone or another one now, and is not sent to {place}"]
    assert not list((tmp_path / OUTBOX).iterdir())


class _Web(BaseHTTPRequestHandler):
    """Keeps what is posted; answers as it was told."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, dict(self.headers), body))  # type: ignore[attr-defined]
        status, answer = self.server.answers.pop(0)  # type: ignore[attr-defined]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def web(*answers: tuple[int, Any]) -> Iterator[Any]:
    server: Any = ThreadingHTTPServer((LOOPBACK, 0), _Web)
    server.got, server.answers = [], list(answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def failed(code: int) -> dict[str, Any]:
    return {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [code]}}]}}


def test_a_web_server_gets_the_file_and_the_token(
    product: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN, "s3cret")
    with web((200, {}), (409, failed(0x0111))) as server:
        place = WebAddress(f"http://{LOOPBACK}:{server.server_port}/dicom-web/studies")
        Sender().send(product, place)
        Sender().send(product, place)  # it is there already
    path, headers, body = server.got[0]
    assert (path, headers["Authorization"]) == ("/dicom-web/studies", "Bearer s3cret")
    assert product.read_bytes() in body
    assert headers["Content-Type"].startswith('multipart/related; type="application/dicom"')


@pytest.mark.parametrize(
    ("answer", "passes", "words"),
    [
        ((503, None), True, "HTTP 503"),
        ((401, None), False, "refuses us"),
        ((302, None), False, "HTTP 302"),
        ((202, failed(0xA700)), True, "A700"),
        ((409, failed(0xC000)), False, "C000"),
        ((200, failed(0x0122)), False, "0122"),
    ],
)
def test_what_a_web_server_refuses_is_told(
    product: Path, answer: Any, passes: bool, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN, "s3cret")
    with web(answer) as server:
        place = WebAddress(f"http://{LOOPBACK}:{server.server_port}/studies")
        with pytest.raises(SendError, match=words) as raised:
            Sender().send(product, place)
    assert raised.value.passes is passes
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        "http://pacs.example/studies",
        "https://u:p@h/s",
        "https:///s",
        "PACS@h",
        "@h:1",
        "A@h:99999",
        "a\\b@h:1",
    ],
)
def test_a_place_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_destination(text)


@pytest.mark.needs("dcmtk")
def test_storescp_of_dcmtk_takes_it_and_what_is_compressed_uncompressed(tmp_path: Path) -> None:
    write_series(tmp_path / "made", SHAPE, syntax=RLELossless)
    product = tmp_path / "made" / "0000"
    port, folder = free_port(), tmp_path / "pacs"
    folder.mkdir()
    server = subprocess.Popen(["storescp", "-od", folder, str(port)])
    try:
        with outbox(tmp_path, DicomAddress("ANY", LOOPBACK, port)) as box:
            box.add([product])
            until(lambda: not box.unsent)
    finally:
        server.kill()
        server.wait()
    (there,) = map(pydicom.dcmread, folder.iterdir())
    assert there.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert there.SOPInstanceUID == sop_uid_of(product)
    assert np.array_equal(there.pixel_array, pydicom.dcmread(product).pixel_array)


@contextmanager
def orthanc(tmp_path: Path, segbatch_port: int = 0) -> Iterator[tuple[int, int]]:
    """Its ports for DICOM and for HTTP."""
    dicom, http = free_port(), free_port()
    plugins = [str(path) for path in Path("/usr/share/orthanc/plugins").glob("*DicomWeb.so")]
    settings = {
        "Name": "test", "DicomAet": "ORTHANC", "DicomPort": dicom, "HttpPort": http, "Plugins": plugins,
        "StorageDirectory": str(tmp_path / "db"), "IndexDirectory": str(tmp_path / "db"),
        "AuthenticationEnabled": False, "RemoteAccessAllowed": False, "DicomAlwaysAllowStore": True,
        "DicomModalities": {"segbatch": ["SEG", LOOPBACK, segbatch_port]}, "DicomWeb": {"Enable": True},
    }  # fmt: skip
    (tmp_path / "orthanc.json").write_text(json.dumps(settings))
    with (tmp_path / "orthanc.log").open("wb") as log:
        server = subprocess.Popen(
            ["Orthanc", str(tmp_path / "orthanc.json")], stdout=log, stderr=log, cwd=tmp_path
        )
    try:
        until(lambda: _answers(http), "Orthanc", server)
        yield dicom, http
    finally:
        server.terminate()
        server.wait(60)


def _answers(http: int) -> bool:
    try:
        return bool(asked(http, "system"))
    except OSError:
        return False


def asked(http: int, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(f"http://{LOOPBACK}:{http}/{path}", data=data), timeout=60) as answer:
        return json.loads(answer.read())


@pytest.mark.full
@pytest.mark.needs("orthanc")
def test_orthanc_takes_it_both_ways_and_sends_series(tmp_path: Path, product: Path) -> None:
    (tmp_path / "in").mkdir()
    with listening(tmp_path / "in") as scp, orthanc(tmp_path, scp.port) as (dicom, http):
        Sender().send(product, DicomAddress("ORTHANC", LOOPBACK, dicom))
        stow = WebAddress(f"http://{LOOPBACK}:{http}/dicom-web/studies")
        for other in ("0001", "0002", "0002"):
            Sender().send(product.with_name(other), stow)
        assert len(asked(http, "instances")) == 3
        (series,) = asked(http, "series")
        told = asked(
            http, "modalities/segbatch/store", {"Resources": [series], "Synchronous": True}
        )
        assert told["FailedInstancesCount"] == 0
        uids = {sop_uid_of(path) for path in received(tmp_path / "in")}
        assert uids == {sop_uid_of(path) for path in product.parent.iterdir()}
