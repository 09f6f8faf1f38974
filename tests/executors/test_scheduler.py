"""Items on the threads of this process."""

import errno
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import DiskFullError, InputError, PassingError
from seg_batch.executors import run_bounded
from seg_batch.executors.pool import HERE, InlinePool
from seg_batch.executors.scheduler import RetryCallback
from seg_batch.executors.task import Doubtful
from tests.support.patience import PATIENCE_S


@pytest.fixture
def pool() -> Iterator[InlinePool]:
    pool = InlinePool()
    yield pool
    pool.close()


def test_every_item_has_one_outcome_and_few_are_in_hand(pool: InlinePool) -> None:
    guard, in_hand, most = threading.Lock(), 0, 0
    full = threading.Event()

    def square(item: int) -> int:
        nonlocal in_hand, most
        with guard:
            in_hand += 1
            most = max(most, in_hand)
            if most == pool.window:
                full.set()
        assert full.wait(PATIENCE_S)
        with guard:
            in_hand -= 1
        return item**2

    outcomes = list(run_bounded(pool, square, range(50)))
    assert sorted((o.item, o.result) for o in outcomes) == [(n, n**2) for n in range(50)]
    assert most == pool.window
    assert {o.worker for o in outcomes} == {"this process"}


@pytest.mark.full
def test_a_try_that_is_due_waits_for_room_and_asks_nobody_meanwhile(pool: InlinePool) -> None:
    tries: Counter[int] = Counter()
    asked: list[float] = []

    def slow(item: int) -> int:
        tries[item] += 1
        if item == 0 and tries[item] == 1:
            raise PassingError("not now")
        time.sleep(2)  # a second longer than until the next try
        return item

    pool.alive = lambda: asked.append(time.monotonic()) or True  # type: ignore[method-assign, func-returns-value]
    began = time.monotonic()
    outcomes = list(run_bounded(pool, slow, range(5)))
    assert sorted(o.result for o in outcomes) == list(range(5))
    most = 10 * (2 + time.monotonic() - began)
    assert len(asked) < most, "it waits, and does not turn and turn"


def test_items_are_asked_for_as_they_are_needed(pool: InlinePool) -> None:
    asked: list[int] = []

    def items() -> Iterator[int]:
        for n in range(100):
            asked.append(n)
            yield n

    for n, _ in enumerate(run_bounded(pool, abs, items()), 1):
        assert len(asked) <= n + pool.window


def test_refusals_are_final_and_others_are_tried_again(pool: InlinePool) -> None:
    tries: Counter[int] = Counter()
    guard = threading.Lock()

    def mixed(item: int) -> int:
        with guard:
            tries[item] += 1
            n = tries[item]
        if item == 1:
            raise InputError("no image")
        if item == 2:
            raise ValueError("never")
        if item == 3 and n == 1:
            raise ValueError("once")
        return item

    outcomes = {o.item: o for o in run_bounded(pool, mixed, range(5))}
    assert tries == {0: 1, 1: 1, 2: 2, 3: 2, 4: 1}
    failed = {item: type(o.error) for item, o in outcomes.items() if o.error}
    assert failed == {1: InputError, 2: ValueError}


@pytest.mark.full  # it waits a second
def test_a_fault_that_passes_is_waited_for_and_told(pool: InlinePool) -> None:
    begun: list[float] = []
    told: list[str] = []

    def stumbling(item: int) -> int:
        begun.append(time.monotonic())
        if len(begun) == 1:
            raise OSError(errno.EIO, "Input/output error")
        return item

    class Telling(Callback):
        def on(self, event: events.Event) -> None:
            assert isinstance(event, events.WorkerTrouble)
            told.append(f"{event.kind}: {event.why}")

    [outcome] = run_bounded(pool, stumbling, [7], callback=Telling())
    assert outcome.result == 7
    assert begun[1] - begun[0] >= 1
    assert told == ["retried: 7: OSError: [Errno 5] Input/output error; again in 1 s"]


class Noted(RetryCallback):
    """Each further try, as it is told of."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    def retried(
        self, item: int, which: int, error: BaseException, wait_s: float, worker: str
    ) -> None:
        assert worker == HERE
        self.told.append((str(error), which))

    def begun(self, item: int, which: int) -> None:
        self.told.append(("begun", which))


@pytest.mark.full  # it waits a second
@pytest.mark.parametrize("most", [0, 1])
def test_a_doubtful_result_counts_if_no_try_betters_it(pool: InlinePool, most: int) -> None:
    tries = iter(range(100))
    noted = Noted()

    def seldom_whole(item: int) -> Doubtful:
        return Doubtful(next(tries), "a hole")

    [outcome] = run_bounded(pool, seldom_whole, [0], most=most, tries=noted)
    assert (outcome.result, outcome.error, outcome.attempt) == (most, None, most + 1)
    assert noted.told == [("a hole", 1), ("begun", 2)] * most


def test_a_full_disk_ends_it_at_once(pool: InlinePool) -> None:
    begun = []

    def write(item: int) -> int:
        begun.append(item)
        if item == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return item

    with pytest.raises(DiskFullError, match="free some space"):
        list(run_bounded(pool, write, range(1000)))
    assert len(begun) < 100


def test_once_stopped_what_is_in_hand_ends_and_nothing_begins(pool: InlinePool) -> None:
    stop, begun = threading.Event(), []

    def item(n: int) -> int:
        begun.append(n)
        time.sleep(0.01)
        return n

    ended = []
    for outcome in run_bounded(pool, item, range(1000), stop=stop):
        ended.append(outcome.item)
        stop.set()
    assert sorted(ended) == sorted(begun)
    assert len(begun) <= 1 + pool.window + 1
