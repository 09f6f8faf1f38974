"""Memory is that of an input's own work, whatever its process held before or holds beside it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.inference.costs import BASE_BYTES
from seg_batch.inference.measuring import memory
from seg_batch.inference.measuring.memory import MemoryMeter

MIB = 1 << 20
LARGE, SMALL = BASE_BYTES + 3000 * MIB, BASE_BYTES + 100 * MIB


class Process:
    """A process whose resident memory is set by hand, and a meter of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.peak = 50 * MIB
        monkeypatch.setattr(memory, "rss_bytes", lambda: self.now)
        monkeypatch.setattr(memory, "peak_rss_bytes", lambda: self.peak)
        monkeypatch.setattr(memory, "EVERY_S", 3600.0)
        self.meter = MemoryMeter()

    def hold(self, mib: int) -> None:
        self.now = mib * MIB
        self.peak = max(self.peak, self.now)

    def working(self, key: str, promised: int) -> Any:
        return self.meter.working(key, SimpleNamespace(promised_bytes=promised))  # type: ignore[arg-type]


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Process:
    return Process(monkeypatch)


def test_the_first_input_has_the_peak_of_its_process(process: Process) -> None:
    with process.working("a", SMALL):
        process.hold(900)
        process.hold(300)
        assert process.meter.peak_bytes("a") == 900 * MIB


def test_a_small_input_after_a_large_one_has_its_own(process: Process) -> None:
    with process.working("large", LARGE):
        process.hold(3200)
    process.hold(2900)  # the rest went back to the system
    with process.working("small", SMALL):
        process.hold(2960)
        assert process.meter.peak_bytes("small") == BASE_BYTES + 60 * MIB


def test_a_small_input_beside_a_large_one_is_not_charged_with_it(process: Process) -> None:
    with process.working("large", LARGE):
        process.hold(400)
        with process.working("small", SMALL):
            process.hold(3300)
            assert process.meter.peak_bytes("small") <= SMALL
    with process.working("small", SMALL):
        with process.working("large", LARGE):
            process.hold(6000)
        assert process.meter.peak_bytes("small") <= SMALL, "what the large one left is not its own"
        process.hold(6090)
        assert process.meter.peak_bytes("small") <= SMALL + 90 * MIB


def test_more_than_was_promised_is_told_of_an_input_alone(process: Process) -> None:
    with process.working("first", SMALL):
        pass
    with process.working("second", SMALL):
        process.hold(50 + 400)
        assert process.meter.peak_bytes("second") == (50 + 400) * MIB
        process.hold(50 + 600)
        assert process.meter.peak_bytes("second") > SMALL


@given(st.lists(st.integers(50, 4000), min_size=1, max_size=8), st.integers(0, 3000))
def test_beside_others_no_input_has_more_than_its_promise(held: list[int], before: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        process = Process(patch)
        process.hold(before + 50)
        with process.working("large", LARGE), process.working("small", SMALL):
            for mib in held:
                process.hold(mib)
            assert 0 < process.meter.peak_bytes("small") <= SMALL
