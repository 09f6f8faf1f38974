"""When a read is tried again: later each time, not before a server asks for it, and not beyond its time."""

import pytest

from seg_batch.io.remote import patience
from seg_batch.io.remote.patience import SECONDS, Patience


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits that are asked for, on a clock of which nothing else moves the hands."""
    seconds = list[float]()
    monkeypatch.setattr(patience.time, "monotonic", lambda: sum(seconds))
    monkeypatch.setattr(patience.time, "sleep", seconds.append)
    return seconds


def test_each_wait_is_longer_up_to_a_limit(
    waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SECONDS, "90")
    own = Patience()
    while own.wait():
        pass
    doubled = [0.25 * 2**k for k in range(6)]
    for wait, most in zip(waits, [*doubled, *[10.0] * 99], strict=False):
        assert most / 2 <= wait <= most
    assert len(waits) > len(doubled)
    assert 90 - 10 < sum(waits) <= 90


def test_a_server_may_ask_for_longer(waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECONDS, "30")
    own = Patience()
    assert own.wait(7)
    assert waits == [7]
    assert not own.wait(24)  # beyond the time: not waited for in vain
    assert waits == [7]
