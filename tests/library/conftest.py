from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from seg_batch.cli.main import app
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import Exit, RefusedError
from seg_batch.executors.cluster.certificates import make_certs
from seg_batch.inference.bundles import users_bundles
from seg_batch.library.add import Wish, add
from tests.support.library import Server, serving

Adds = Callable[..., dict[str, Any]]
Refuses = Callable[..., str]
Said = Callable[..., str]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of bundles, which is not there yet."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SEGBATCH_BUNDLES", raising=False)
    return users_bundles()


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """What a command prints; its errors are raised."""

    def run(*words: str) -> str:
        app(list(words), standalone_mode=False)
        return capsys.readouterr().out

    return run


@pytest.fixture
def adds() -> Adds:
    return lambda what, **facts: add(Wish(str(what), **facts), Callback())


@pytest.fixture
def refuses(adds: Adds, home: Path) -> Refuses:
    """The one line by which a bundle is refused; nothing is there then that was not there before."""

    def refused(what: Any, **facts: Any) -> str:
        before = kept(home)
        with pytest.raises(RefusedError) as caught:
            adds(what, **facts)
        assert caught.value.status == Exit.REFUSED
        assert kept(home) == before
        assert "\n" not in caught.value.message
        return caught.value.message

    return refused


def kept(home: Path) -> dict[str, bytes | None]:
    """All that lies in the user's folder."""
    return {
        str(path.relative_to(home)): path.read_bytes() if path.is_file() else None
        for path in sorted(home.rglob("*"))
    }


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls") / "set"
    make_certs(folder)
    return folder


@pytest.fixture(scope="module")
def _served(certificates: Path) -> Iterator[tuple[Server, str]]:
    with serving(certificates) as served:
        yield served


@pytest.fixture
def served(
    _served: tuple[Server, str], certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Server, str]:
    """A server that answers by https and whose authority is trusted, with its address."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
    monkeypatch.setenv("no_proxy", "*")
    _served[0].answers.clear()
    _served[0].asked.clear()
    return _served
