"""The parts of a night that decide: order, room, waiting, stopping."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.batch.dispatch import BorrowedPool
from seg_batch.batch.job import (
    FEWEST_LED,
    MOST_LED,
    PlannedInput,
    by_risk,
    largest_first,
    may_coordinate,
)
from seg_batch.batch.resume import is_unchanged
from seg_batch.batch.shutdown import Shutdown
from seg_batch.batch.summaries import file_stamp
from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.executors import run_bounded
from seg_batch.executors.pool import InlinePool
from seg_batch.inference.request import Request
from seg_batch.inference.worker_requirements import MemoryGate
from seg_batch.io.sinks.product import digest
from tests.support.patience import PATIENCE_S


def item(seconds: float, key: str = "") -> PlannedInput:
    return PlannedInput(key, Request(key), {"blocks": 1, "seconds_estimate": seconds})


@given(st.lists(st.integers(0, 5)))
def test_largest_first_and_equals_as_given(seconds: list[int]) -> None:
    items = [item(s, str(i)) for i, s in enumerate(seconds)]
    found = largest_first(items)
    assert sorted(found, key=lambda i: int(i.key)) == items
    for one, two in pairwise(found):
        assert (-one.seconds, int(one.key)) < (-two.seconds, int(two.key))


@given(st.lists(st.integers(0, 4), max_size=12), st.booleans())
def test_what_is_feared_comes_last_and_alone_where_it_can_end_all(
    deaths: list[int], alone: bool
) -> None:
    items = [item(1.0, str(i)) for i in range(len(deaths))]
    feared = {str(i): n for i, n in enumerate(deaths) if n > 1}
    found = by_risk(items, feared, alone)
    flat = [one for some in found for one in some]
    assert sorted(flat, key=lambda i: int(i.key)) == items
    fear = [feared.get(one.key, 0) for one in flat]
    assert fear == sorted(fear)
    for some in found:
        kinds = {feared.get(one.key, 0) for one in some}
        assert len(kinds) == 1
        assert len(some) == 1 or not alone or kinds == {0}
    if not alone:
        assert len(found) == len(set(fear))


@given(st.lists(st.integers(1, 50), max_size=80), st.integers(1, 300))
def test_as_many_are_led_as_fill_the_window(blocks: list[int], window: int) -> None:
    """At the end of the night or sooner: fewer would leave workers idle, one more has no use."""
    led: list[int] = []
    for n in blocks:
        if not may_coordinate(led, window):
            break
        led.append(n)
    if len(led) < len(blocks):
        assert len(led) >= FEWEST_LED
        assert sum(led) >= window or len(led) == MOST_LED
    if len(led) > FEWEST_LED:
        assert sum(led[:-1]) < window
    assert len(led) <= MOST_LED


def test_a_room_holds_no_more_than_its_limit() -> None:
    """20 threads with shares of all sizes; one that is too large for any company goes alone."""
    room, held, most, guard = MemoryGate(), [0], [0], threading.Lock()
    dice = random.Random(5)
    shares = [dice.randint(1, 60) for _ in range(19)] + [150]
    alone: list[int] = []

    def work(share: int) -> None:
        with room.taking(share, 100):
            with guard:
                held[0] += share
                alone.append(held[0]) if share > 100 else most.append(held[0])
            time.sleep(0.001)
            with guard:
                held[0] -= share

    threads = [threading.Thread(target=work, args=(share,)) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    assert max(most) <= 100
    assert alone == [150]


def test_a_room_is_shared_by_those_that_fit() -> None:
    room, inside = MemoryGate(), threading.Barrier(3)

    def work(share: int) -> None:
        with room.taking(share, 100):
            inside.wait(PATIENCE_S)  # until all three are in it

    threads = [threading.Thread(target=work, args=(share,)) for share in (50, 40, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not inside.broken


def test_a_room_is_left_when_the_work_fails() -> None:
    room = MemoryGate()
    with pytest.raises(ValueError), room.taking(90, 100):
        raise ValueError
    with room.taking(90, 100):
        pass


def test_only_the_first_reason_to_stop_counts() -> None:
    told: list[events.Event] = []

    class Telling(Callback):
        def on(self, event: events.Event) -> None:
            told.append(event)

    stop = Shutdown(Telling())
    stop.ask("the disk is full", fault=True)
    stop.ask("it is late")
    assert told == [events.Stopping("the disk is full")]
    assert (stop.why, stop.fault) == ("the disk is full", True)


def test_the_clock_stops_a_night() -> None:
    stop = Shutdown()
    with stop.watching(time.time() + 0.05):
        assert stop.asked.wait(PATIENCE_S)
    assert "time" in stop.why


def test_a_night_that_ended_is_not_stopped_by_its_clock() -> None:
    stop = Shutdown()
    with stop.watching(time.time() + 10 * PATIENCE_S):
        (clock,) = (t for t in threading.enumerate() if isinstance(t, threading.Timer))
    clock.join(PATIENCE_S)  # it waits for nothing any more
    assert not clock.is_alive()
    assert not stop.asked.is_set()


def test_the_first_signal_asks_and_the_second_interrupts() -> None:
    before = signal.getsignal(signal.SIGTERM)
    stop = Shutdown()
    with stop.watching():
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked.wait(PATIENCE_S)
        assert stop.why == "SIGTERM received"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_product_is_known_by_size_and_time_or_by_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "out.tif"
    path.write_bytes(b"labels")
    size, mtime_ns = file_stamp(str(path))
    product = {"bytes": size, "mtime_ns": mtime_ns, "sha256": digest(path)}
    result = {"output": str(path), "product": product}
    assert is_unchanged(result)
    os.utime(path, ns=(1, 1))
    assert is_unchanged(result), "copied back from a tape, say"
    path.write_bytes(b"LABELS")
    assert not is_unchanged(result)
    path.write_bytes(b"longer labels")
    assert not is_unchanged(result)
    path.unlink()
    assert not is_unchanged(result)


def test_a_product_in_many_files_is_known_by_all_of_them(tmp_path: Path) -> None:
    path = tmp_path / "out.zarr"
    (path / "c").mkdir(parents=True)
    for name in ("zarr.json", "c/0", "c/1"):
        (path / name).write_bytes(b"chunk")
    size, mtime_ns = file_stamp(str(path))
    product = {"bytes": size, "mtime_ns": mtime_ns, "sha256": digest(path)}
    result = {"output": str(path), "product": product}
    assert is_unchanged(result)
    (path / "c/1").write_bytes(b"CHUNK")
    assert not is_unchanged(result)
    (path / "c/1").unlink()
    assert not is_unchanged(result)


def test_an_item_is_small_when_it_has_one_block() -> None:
    assert item(1).small
    assert not replace(item(1), facts={"blocks": 2}).small


def test_large_inputs_of_one_process_share_its_two_blocks_at_once() -> None:
    guard, now, most = threading.Lock(), 0, 0

    def block(_: int) -> None:
        nonlocal now, most
        with guard:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with guard:
            now -= 1

    with closing(InlinePool()) as pool, ThreadPoolExecutor(3) as coordinators:
        borrowed = cast(Any, BorrowedPool(pool))
        inputs = [
            coordinators.submit(lambda: list(run_bounded(borrowed, block, range(4))))
            for _ in range(3)
        ]
        assert [len(each.result()) for each in inputs] == [4, 4, 4]
        assert most == pool.window
