"""Short items that go to a worker as one task: each has the end it would have had alone."""

import math
import os
import pickle
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import InputError
from seg_batch.executors import run_bounded, task, task_grouping
from seg_batch.executors.cluster.launch import local_pool
from seg_batch.executors.dask_pool import DaskPool
from seg_batch.executors.pool import InlinePool
from seg_batch.executors.scheduler import RetryCallback
from seg_batch.executors.task import TaskWrapper
from seg_batch.executors.task_grouping import (
    FIRST,
    MOST,
    PATIENCE_S,
    REMEMBERED,
    TASK_S,
    RecentDurations,
    group_size,
)


class Elsewhere(InlinePool):
    """A pool as if its tasks left the process: all that goes there is pickled. Counts them."""

    inline = False  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.tasks, self.most = 0, 0
        self._in_flight, self._guard = 0, threading.Lock()

    def submit(self, function: Callable[..., Any], *args: Any, avoid: Collection[str] = ()) -> Any:
        packed = pickle.dumps((function, args))
        with self._guard:
            self.tasks += 1
            self._in_flight += 1
            self.most = max(self.most, self._in_flight)
        return self._threads.submit(self._do, packed)

    def _do(self, packed: bytes) -> Any:
        function, args = pickle.loads(packed)
        try:
            return function(*args)
        finally:
            with self._guard:
                self._in_flight -= 1


@pytest.fixture(scope="module")
def pool() -> Iterator[Elsewhere]:
    pool = Elsewhere()
    yield pool
    pool.close()


class Clock(threading.local):
    """A clock of each thread, which goes on only where a task says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


CLOCK = Clock()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks and their items take what ``CLOCK`` says, and not what the machine makes of it."""
    monkeypatch.setattr(task_grouping, "time", SimpleNamespace(monotonic=CLOCK))
    monkeypatch.setattr(task, "time", SimpleNamespace(perf_counter=CLOCK))


def takes(item: tuple[int, float]) -> int:
    CLOCK.now += item[1]
    return item[0]


def odd_is_refused(item: tuple[int, float]) -> int:
    if item[0] % 2:
        raise InputError(f"{item[0]} is odd")
    return item[0] ** 2


@given(st.lists(st.sampled_from([0.0, TASK_S / 3, TASK_S, 9.0]), max_size=60))
def test_each_item_ends_as_it_does_alone(pool: Elsewhere, seconds: list[float]) -> None:
    items = list(enumerate(seconds))
    pool.tasks = pool.most = 0
    found = list(
        run_bounded(pool, odd_is_refused, items, seconds=lambda item: item[1], together=MOST)
    )
    alone = list(run_bounded(pool, odd_is_refused, items))
    assert sorted((o.item, o.result, str(o.error)) for o in found) == sorted(
        (o.item, o.result, str(o.error)) for o in alone
    )


@pytest.mark.usefixtures("clock")
def test_short_items_share_a_task_and_long_ones_do_not(pool: Elsewhere) -> None:
    for seconds, tasks in ((0.0, 40 / MOST), (TASK_S / 2, 20), (TASK_S, 40)):
        pool.tasks = pool.most = 0
        items = [(2 * n, seconds) for n in range(40)]
        outcomes = run_bounded(
            pool, odd_is_refused, items, seconds=lambda item: item[1], together=MOST
        )
        assert len(list(outcomes)) == 40
        assert pool.tasks == tasks
        assert pool.most <= pool.window


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(("seconds", "shared"), [(0.0, True), (TASK_S, False)])
def test_what_items_take_is_seen_from_those_that_ended(
    pool: Elsewhere, seconds: float, shared: bool
) -> None:
    pool.tasks = 0
    items = [(n, seconds) for n in range(100)]
    outcomes = run_bounded(pool, takes, items, together=MOST)
    assert sorted(outcome.item for outcome in outcomes) == items
    assert (pool.tasks < len(items)) is shared


@pytest.mark.usefixtures("clock")
def test_what_a_task_that_takes_too_long_has_not_begun_is_handed_out_anew(pool: Elsewhere) -> None:
    pool.tasks = 0
    items = [(n, 0.6 * PATIENCE_S) for n in range(8)]
    outcomes = list(run_bounded(pool, takes, items, seconds=lambda _: 0.0, together=8))
    assert sorted(o.result for o in outcomes) == list(range(8))
    assert {o.attempt for o in outcomes} == {1}, "that was no try"
    assert pool.tasks >= 4, "no task does more than two"


def test_one_slow_item_is_remembered_for_a_while() -> None:
    recent = RecentDurations()
    for n in range(FIRST):
        assert recent("any") == math.inf
        recent.ended(9.0 if n == 2 else 0.1)
    assert recent("any") == 9.0
    for _ in range(REMEMBERED):
        recent.ended(0.1)
    assert recent("any") == 0.1


class Fails:
    """Fails once for each item of its own, for a reason that passes."""

    failed: ClassVar[Counter[int]] = Counter()

    def __call__(self, item: int) -> int:
        self.failed[item] += 1
        if item % 3 == 0 and self.failed[item] == 1:
            raise RuntimeError("once")
        return item


def test_one_that_fails_is_tried_again_alone_and_its_neighbours_are_not(pool: Elsewhere) -> None:
    class Told(RetryCallback):
        again: ClassVar[list[int]] = []

        def begun(self, item: Any, which: int) -> None:
            self.again.append(item)

    Fails.failed.clear()
    found = list(
        run_bounded(pool, Fails(), range(16), seconds=lambda _: 0.0, together=MOST, tries=Told())
    )
    assert sorted(o.result for o in found) == list(range(16))
    assert sorted(Told.again) == [0, 3, 6, 9, 12, 15]
    assert {item: n for item, n in Fails.failed.items() if n > 1} == dict.fromkeys(Told.again, 2)


def test_what_all_tasks_share_is_pickled_once() -> None:
    class Large:
        pickled = 0

        def __call__(self, item: int) -> int:
            return item + 1

        def __reduce__(self) -> tuple[Any, ...]:
            Large.pickled += 1
            return (int, ("7",))

    function = TaskWrapper(Large())
    assert len({pickle.dumps(function) for _ in range(5)}) == 1
    assert Large.pickled == 1


@pytest.mark.full
def test_an_item_that_kills_its_worker_takes_no_neighbour_with_it(tmp_path: Path) -> None:
    def deadly(item: int) -> int:
        if item == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    pool: DaskPool = local_pool(2)
    try:
        found = {
            o.item: o
            for o in run_bounded(
                pool, deadly, range(12), most=1, seconds=lambda _: 0.0, together=MOST
            )
        }
    finally:
        pool.close()
    assert found[5].error is not None
    assert [o.result for item, o in sorted(found.items()) if item != 5] == [
        n for n in range(12) if n != 5
    ]


@pytest.mark.full
def test_a_task_of_several_that_hangs_is_begun_elsewhere_too(tmp_path: Path) -> None:
    def hangs_once(item: int) -> int:
        if item == 150:
            try:
                (tmp_path / "hung").touch(exist_ok=False)
            except FileExistsError:
                return item
            time.sleep(600)
        time.sleep(0.01)
        return item

    told: list[Any] = []

    class Telling(Callback):
        def on(self, event: events.Event) -> None:
            told.append(event)

    pool = local_pool(2)
    try:
        outcomes = run_bounded(
            pool,
            hangs_once,
            range(200),
            seconds=lambda _: 0.0,
            together=MOST,
            callback=Telling(),
        )
        assert sorted(o.result for o in outcomes) == list(range(200))
    finally:
        pool.close()
    assert "straggler" in {event.kind for event in told}


def test_few_items_go_alone_so_that_every_worker_has_some() -> None:
    assert [group_size(n, 3) for n in (0, 1, 24, 48, 10_000)] == [1, 1, 1, 2, MOST]
