"""Ranges of a remote file, against the bytes that a real server on this machine has."""

import random
import socket
import time
from collections.abc import Iterator

import pytest

from seg_batch.core.errors import ChangedError, InputError, UnreachableError
from seg_batch.io.remote.patience import SECONDS
from seg_batch.io.remote.reader import HEAD_BYTES, open_remote
from tests.support.remote.range_server import RangeServer, serving

CONTENT = random.Random(3).randbytes(1_500_000)
FILES = {"/f/big.bin": CONTENT, "/f/small.bin": CONTENT[:999], "/f/empty.bin": b""}


@pytest.fixture(autouse=True)
def briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECONDS, "0.7")


@pytest.fixture
def server() -> Iterator[RangeServer]:
    with serving(FILES) as server:
        yield server


def ranges() -> list[tuple[int, int]]:
    chance, size = random.Random(5), len(CONTENT)
    starts = [chance.randrange(size) for _ in range(40)]
    return [(a, a + chance.choice((1, 700, 90_000, 900_000))) for a in starts]


def test_ranges_are_those_of_the_file(server: RangeServer) -> None:
    file = open_remote(f"{server.url}/f/big.bin?sig=geheim")
    assert (file.size, file.identity) == (len(CONTENT), {"size": len(CONTENT), "etag": '"one"'})
    assert file.path == f"{server.url}/f/big.bin"
    assert file.head == CONTENT[:HEAD_BYTES]
    assert [file.read(*each) for each in ranges()[:5]] == [CONTENT[a:b] for a, b in ranges()[:5]]
    assert file.read_many(ranges()) == [CONTENT[a:b] for a, b in ranges()]
    assert file.read_many([]) == []
    assert file.read(7, 7) == b"" == file.read(10**9, 10**9 + 1)


def test_neighbours_are_read_together_and_connections_kept(server: RangeServer) -> None:
    file = open_remote(f"{server.url}/f/big.bin")
    for k in range(6):
        file.read_many([(100_000 + k, 100_100), (100_200, 101_000), (140_000, 150_000)])
    assert len(server.requests) == 7
    assert server.connections <= 2


def test_faults_that_pass_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECONDS, "30")
    with serving(FILES, failing=0.3) as server:
        file = open_remote(f"{server.url}/f/big.bin")
        assert file.read_many(ranges()[:12]) == [CONTENT[a:b] for a, b in ranges()[:12]]


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ({"statuses": [503] * 99}, "answers 503"),
        ({"statuses": [429] * 99}, "answers 429"),
        ({"gone_after": 1}, "breaks the connection off"),
        ({"cut": 1}, "breaks the connection off"),
        ({"drip_s": 0.01}, "too slowly"),
    ],
)
def test_faults_that_last_end_in_time(server: RangeServer, behaviour: dict, words: str) -> None:
    file = open_remote(f"{server.url}/f/big.bin")
    vars(server.behaviour).update(behaviour)
    start = time.monotonic()
    with pytest.raises(UnreachableError, match=words) as caught:
        file.read(100_000, 200_000)
    assert time.monotonic() - start < 4
    assert "\n" not in caught.value.message


def test_nobody_at_home() -> None:
    with serving(FILES) as server:
        url = server.url
    with pytest.raises(UnreachableError, match="takes no connection"):
        open_remote(f"{url}/f/big.bin?sig=geheim")
    with pytest.raises(UnreachableError, match="name is not known") as caught:
        open_remote("https://nowhere.invalid/f/big.bin?sig=geheim")
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("then", [{"etag": '"two"'}, {"etag": None, "modified": "later"}, {"lie": 10**6}])  # fmt: skip
@pytest.mark.parametrize("first", [{}, {"etag": 'W/"weak"'}, {"etag": None, "modified": "once"}])
def test_bytes_of_two_versions_never_meet(first: dict, then: dict) -> None:
    with serving(FILES, **first) as server:
        file = open_remote(f"{server.url}/f/big.bin")
        if first and "etag" in then and then["etag"] is None and first["etag"]:
            return  # a server that no longer says which version it sends
        if first.get("modified") and then.get("etag"):
            then = {"modified": "later"}
        vars(server.behaviour).update(then)
        with pytest.raises(ChangedError, match="changed while it was read"):
            file.read(100_000, 200_000)


def test_identity_of_a_server_that_names_no_version() -> None:
    with serving(FILES, etag=None) as server:
        one = open_remote(f"{server.url}/f/big.bin")
        assert not one.is_versioned
        server.files["/f/big.bin"] = b"x" + CONTENT[1:]
        assert open_remote(f"{server.url}/f/big.bin").identity != one.identity


@pytest.mark.parametrize(
    "to",
    ["http://localhost:{port}/f/big.bin", "http://169.254.169.254/latest/meta-data", "https://127.0.0.1:{port}/f/big.bin", "//evil.invalid/f", "ftp://{port}/etc/passwd", "http://127.0.0.1:1/f"],
)  # fmt: skip
def test_a_redirect_elsewhere_is_refused(server: RangeServer, to: str) -> None:
    server.behaviour.redirect = to.format(port=server.server_port)
    with pytest.raises(InputError, match="another host are not followed") as caught:
        open_remote(f"{server.url}/f/big.bin", ("localhost", "169.254.169.254"))
    assert len(server.requests) == 1
    assert "\n" not in caught.value.message


def test_a_redirect_on_the_same_host_is_followed_and_a_circle_ends(server: RangeServer) -> None:
    server.files["/g"] = CONTENT
    server.behaviour.before = lambda n: setattr(server.behaviour, "redirect", "/g" if n % 2 else "")
    assert open_remote(f"{server.url}/f/big.bin").read(99_999, 100_000) == CONTENT[99_999:100_000]
    server.behaviour.before, server.behaviour.redirect = None, "/f/big.bin"
    with pytest.raises(InputError, match="circle"):
        open_remote(f"{server.url}/f/big.bin")


def test_a_server_of_whole_files_is_refused_but_for_small_ones() -> None:
    with serving(FILES, ranges=False) as server:
        assert open_remote(f"{server.url}/f/small.bin").read(5, 10) == CONTENT[5:10]
        with pytest.raises(InputError, match="whole files only"):
            open_remote(f"{server.url}/f/big.bin")


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [("/f/none.bin", 0, "no such file"), ("/f/empty.bin", 0, "is empty"), ("/f/big.bin", 403, "denies it"), ("/f/big.bin", 401, "denies it"), ("/f/big.bin", 410, "no such file"), ("/f/big.bin", 418, "418")],
)  # fmt: skip
def test_what_a_host_refuses_is_told_in_one_line(
    server: RangeServer, path: str, status: int, words: str
) -> None:
    server.behaviour.statuses = [status] * (status > 0)
    with pytest.raises(InputError, match=words) as caught:
        open_remote(f"{server.url}{path}?sig=geheim")
    assert not isinstance(caught.value, UnreachableError)
    assert len(server.requests) == 1
    assert "geheim" not in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("span", ["bytes 5-70000/1500000", "bytes */1500000", "5-6", "bytes 0-65535/*"])  # fmt: skip
def test_other_bytes_than_were_asked_for_are_refused(server: RangeServer, span: str) -> None:
    server.behaviour.headers = {"Content-Range": span}
    with pytest.raises(InputError, match="other bytes"):
        open_remote(f"{server.url}/f/big.bin")


def test_a_false_size_ends_in_one_line() -> None:
    with serving(FILES, lie=10**15) as server:
        file = open_remote(f"{server.url}/f/big.bin")
        with pytest.raises(InputError):
            file.read(10**14, 10**14 + 10)
        with pytest.raises(InputError):
            file.read(len(CONTENT) - 10, len(CONTENT) + 10)


def test_what_expired_is_signed_again() -> None:
    signatures = iter(["old", "new"])

    def sign(url: str) -> str:
        return f"{url}?sig={next(signatures)}"

    with serving(FILES, signature="old") as server:
        file = open_remote(f"{server.url}/f/big.bin", signer=sign)
        server.behaviour.signature = "new"
        assert file.read_many([(0, 9), (900_000, 900_009)])[1] == CONTENT[900_000:900_009]
        server.behaviour.signature = "none"
        with pytest.raises((InputError, StopIteration)):
            file.read(100_000, 100_001)


def test_readers_at_once_sign_once_when_a_signature_expires() -> None:
    asked = list[str]()

    def sign(url: str) -> str:
        asked.append(url)
        return f"{url}?sig={'old' if len(asked) == 1 else 'new'}"

    with serving(FILES, signature="old", latency_s=0.05) as server:
        file = open_remote(f"{server.url}/f/big.bin", signer=sign)
        server.behaviour.signature = "new"
        places = [(start, start + 9) for start in range(100_000, 1_300_000, 300_000)]
        assert file.read_many(places) == [CONTENT[a:b] for a, b in places]
    assert len(asked) == 2


def test_a_host_that_no_name_server_knows_is_not_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setenv(SECONDS, "60")
    begun = time.monotonic()
    with pytest.raises(UnreachableError, match="its name is not known"):
        open_remote("https://no.such.host/a.tif", ())
    assert time.monotonic() - begun < 5  # of 60 seconds of patience
