"""What is added from the net comes by https alone, whole, within its limit, and is what was meant. A real server."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest

from seg_batch.inference.bundles import find_bundle
from seg_batch.library import fetch
from tests.library.conftest import Adds, Refuses
from tests.support.library import Server, files_of, leading, sending, serving, zipped

Served = tuple[Server, str]


@pytest.fixture
def archive(tmp_path: Path) -> bytes:
    return zipped(tmp_path / "toy.zip", files_of()).read_bytes()


def test_it_is_fetched_and_its_hash_is_told(
    served: Served, archive: bytes, adds: Adds, home: Path
) -> None:
    server, address = served
    server.answers["/toy.zip"] = sending(archive)
    facts = adds(f"{address}/toy.zip?token=secret")
    assert facts["sha256"] == hashlib.sha256(archive).hexdigest()
    assert facts["archive_bytes"] == len(archive)
    assert facts["source"] == f"{address}/toy.zip"
    assert find_bundle("toy").path == home / "toy"
    assert "secret" not in (home / "toy/added.json").read_text()
    assert server.asked == ["/toy.zip?token=secret"]


def test_a_pinned_hash_decides(
    served: Served, archive: bytes, adds: Adds, refuses: Refuses
) -> None:
    server, address = served
    server.answers["/toy.zip"] = sending(archive)
    digest = hashlib.sha256(archive).hexdigest()
    assert digest in refuses(f"{address}/toy.zip", sha256="0" * 64)
    for wrong in ("abc", digest[:-1], digest + "0", "g" * 64):
        assert "is no SHA-256" in refuses(f"{address}/toy.zip", sha256=wrong)
    assert len(server.asked) == 1  # what is no hash is seen before anything is fetched
    assert adds(f"{address}/toy.zip", sha256=f"SHA256:{digest.upper()}")["sha256"] == digest


def test_a_redirect_stays_with_https(
    served: Served, archive: bytes, adds: Adds, refuses: Refuses
) -> None:
    server, address = served
    server.answers |= {
        "/toy.zip": sending(archive),
        "/moved": leading("/toy.zip"),
        "/file": leading(Path("/etc/passwd").as_uri()),
        "/round": leading("/round"),
    }
    with serving() as (plain, plainly):
        server.answers["/down"] = leading(f"{plainly}/toy.zip")
        plain.answers["/toy.zip"] = sending(archive)
        line = refuses(f"{address}/down")
        assert "leads elsewhere" in line
        assert "anyone on its way could change the file" in line
        assert "anyone on its way" in refuses(f"{plainly}/toy.zip")
        assert plain.asked == []
    assert "302" in refuses(f"{address}/file")
    assert "loop" in refuses(f"{address}/round")
    assert adds(f"{address}/moved")["name"] == "toy"


def test_who_can_not_prove_to_be_the_server_is_refused(
    served: Served, archive: bytes, refuses: Refuses, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, address = served
    server.answers["/toy.zip"] = sending(archive)
    monkeypatch.delenv("SSL_CERT_FILE")
    assert "can't prove to be that server" in refuses(f"{address}/toy.zip")
    assert server.asked == []


@pytest.mark.parametrize(("stated", "sent"), [(1000, 400), (None, 400)])
def test_a_cut_connection_leaves_nothing(
    served: Served, archive: bytes, refuses: Refuses, stated: int | None, sent: int
) -> None:
    server, address = served

    def cut(request):  # type: ignore[no-untyped-def]
        request.send_response(200)
        if stated:
            request.send_header("Content-Length", str(stated))
        request.end_headers()
        request.wfile.write(archive[:sent])

    server.answers["/toy.zip"] = cut
    line = refuses(f"{address}/toy.zip")
    assert ("ended after 400 of 1,000 bytes" if stated else "no sound archive") in line


def test_nothing_is_larger_than_allowed(served: Served, archive: bytes, refuses: Refuses) -> None:
    server, address = served
    server.answers["/stated"] = sending(b"", 3 << 30)
    assert "larger than 2.0 GiB: if it should be, allow more with --max-size" in refuses(
        f"{address}/stated"
    )

    def endless(request):  # type: ignore[no-untyped-def]
        request.send_response(200)
        request.end_headers()
        while True:
            request.wfile.write(b"0" * 65536)

    server.answers["/endless"] = endless
    assert "larger than 1.0 MiB" in refuses(f"{address}/endless", most_bytes=1 << 20)


def test_who_falls_silent_is_not_waited_for(
    served: Served, archive: bytes, refuses: Refuses, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, address = served
    monkeypatch.setattr(fetch, "SILENCE_S", 0.2)

    def silent(request):  # type: ignore[no-untyped-def]
        request.send_response(200)
        request.end_headers()
        time.sleep(0.6)

    def dripping(request):  # type: ignore[no-untyped-def]
        request.send_response(200)
        request.end_headers()
        for _ in range(20):
            request.wfile.write(b"0")
            time.sleep(0.05)

    server.answers |= {"/silent": silent, "/dripping": dripping}
    assert "timed out" in refuses(f"{address}/silent")
    assert "it would never end" in refuses(f"{address}/dripping")


def test_what_is_not_there_is_said_in_one_line(served: Served, refuses: Refuses) -> None:
    server, address = served
    server.answers["/page"] = sending(b"<!DOCTYPE html><p>Sign in")
    assert "the server answers 404" in refuses(f"{address}/none.zip")
    assert "it is a web page" in refuses(f"{address}/page")
    port = address.rpartition(":")[2]
    for wrong, said in {
        "https://127.0.0.1:9/x.zip": "can't be fetched",
        f"https://user:secret@127.0.0.1:{port}/x.zip": "holds a user or a password",
        "https:///x.zip": "is no address",
        f"{address}/a b.zip": "is no address",
        "ftp://127.0.0.1/x.zip": "only https is spoken",
        "s3://bucket/x.zip": "only https is spoken",
        "data:/x": "only https is spoken",
    }.items():
        line = refuses(wrong)
        assert said in line
        assert "secret" not in line
