"""Workers that hang, die, or can do nothing: real processes of a real cluster."""

import errno
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import BundleError, DiskFullError
from seg_batch.executors import dask_pool, run_bounded
from seg_batch.executors.cluster.launch import local_pool
from seg_batch.executors.dask_pool import DaskPool
from tests.support.patience import until

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def pool() -> Iterator[DaskPool]:
    """Three processes. The tests run in the order of this file: some leave fewer."""
    pool = local_pool(3)
    yield pool
    pool.close()


class Told(Callback):
    """What a run tells of its workers."""

    def __init__(self) -> None:
        self.troubles: list[events.WorkerTrouble] = []

    def on(self, event: events.Event) -> None:
        assert isinstance(event, events.WorkerTrouble)
        self.troubles.append(event)

    def of(self, kind: str) -> list[tuple[str, str]]:
        return [(one.worker, one.why) for one in self.troubles if one.kind == kind]


def test_a_suspended_workers_items_are_done_elsewhere(pool: DaskPool, tmp_path: Path) -> None:
    """Dask itself would wait for minutes, until it takes the worker to be lost; the late results, once
    it goes on, change nothing."""
    pids = pool.ask(os.getpid)
    worker, pid = next(iter(pids.items()))

    def slow(item: int) -> int:
        (tmp_path / f"{item}-{os.getpid()}").touch()
        if os.getpid() == pid and not (tmp_path / "suspended").exists():
            (tmp_path / "suspended").touch()
            os.kill(pid, signal.SIGSTOP)  # with this item in hand
        time.sleep(0.1)
        return item

    told, ended = Told(), []
    try:
        for outcome in run_bounded(pool, slow, range(40), callback=told):
            ended.append(outcome.item)
        assert worker in pool.workers_now(), "nobody took it to be lost"
    finally:
        os.kill(pid, signal.SIGCONT)
    assert sorted(ended) == list(range(40))
    assert worker in {name for name, _ in told.of("straggler")}
    assert not told.of("dropped")
    again = list(run_bounded(pool, slow, range(100, 140)))
    assert sorted(o.result for o in again) == list(range(100, 140))


def test_a_killed_workers_items_are_done_again(pool: DaskPool) -> None:
    pids = list(pool.ask(os.getpid).values())
    pool.introduce()
    assert not pool.losses()

    def item(n: int) -> int:
        time.sleep(0.05)
        return n

    ended, killed = [], []
    for outcome in run_bounded(pool, item, range(60)):
        ended.append(outcome.result)
        if len(ended) in (10, 30):
            killed.append(pids.pop())
            os.kill(killed[-1], signal.SIGKILL)
    assert sorted(ended) == list(range(60))
    lost: dict[str, str] = {}
    until(lambda: lost.update(pool.losses()) or len(lost) == 2, "news of both")
    assert list(lost) == [f"{socket.gethostname()}:{pid}" for pid in killed]
    assert all("its process ended" in why for why in lost.values())
    assert not pool.losses(), "each is told of once"

    def are_known() -> bool:
        pids = list(pool.ask(os.getpid).values())
        named = {pool.known_as(worker) for worker in pool.workers_now()}
        return len(pids) == 3 and named == {f"{socket.gethostname()}:{pid}" for pid in pids}

    until(are_known, "those that their nannies started again, who then say who they are")


@pytest.mark.slow
def test_workers_that_die_as_they_start_come_back(
    pool: DaskPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their nannies give them up."""
    monkeypatch.setattr(dask_pool, "REVIVE_S", 0.5)
    before, nannies = set(pool.ask(os.getpid).values()), list(pool._cluster.workers.values())

    def given_up() -> bool:
        for nanny in nannies:
            if nanny.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(nanny.pid, signal.SIGKILL)
        return all(nanny.status.name == "closed" for nanny in nannies)

    until(given_up)
    until(lambda: len(pool.workers_now()) == 3)
    assert not before & set(pool.ask(os.getpid).values())
    assert sorted(o.result for o in run_bounded(pool, abs, range(20))) == list(range(20))


def failing(error: Exception, bad: set[int]) -> Any:
    def item(n: int) -> int:
        if os.getpid() in bad:
            raise error
        time.sleep(0.05)
        return n

    return item


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), BundleError("the weights are damaged")],
    ids=["its disk is full", "its model can't load"],
)
def test_a_worker_on_which_nothing_works_is_sent_away(pool: DaskPool, error: Exception) -> None:
    pids = pool.ask(os.getpid)
    bad = next(iter(pids))
    told = Told()
    outcomes = list(run_bounded(pool, failing(error, {pids[bad]}), range(60), callback=told))
    assert sorted(o.item for o in outcomes) == list(range(60))
    assert not [o.error for o in outcomes if o.error]
    named = pool.known_as(bad)
    assert named not in {o.worker for o in outcomes}
    [(worker, why)] = told.of("dropped")
    assert worker == named
    assert str(error) in why
    assert bad not in pool.workers_now()
    assert pool.dropped[bad] == why
    assert named not in dict(pool.losses()), "it was sent away"


def test_a_disk_that_is_full_for_all_ends_the_run(pool: DaskPool) -> None:
    everywhere = failing(OSError(errno.ENOSPC, "full"), set(pool.ask(os.getpid).values()))
    with pytest.raises(DiskFullError):
        list(run_bounded(pool, everywhere, range(60)))


def test_an_item_that_nobody_can_do_costs_no_worker(pool: DaskPool) -> None:
    before = set(pool.workers_now())

    def item(n: int) -> int:
        if n % 5 == 0:
            raise ValueError(f"item {n}")
        return n

    outcomes = list(run_bounded(pool, item, range(60)))
    failed = Counter(o.item for o in outcomes if o.error)
    assert failed == Counter(range(0, 60, 5))
    assert set(pool.workers_now()) == before
    error = next(o.error for o in outcomes if o.error)
    assert "on worker" in error.__notes__[0]
    assert "raise ValueError" in error.__notes__[0]


def test_stopped_between_items(pool: DaskPool, tmp_path: Path) -> None:
    stop, ended = threading.Event(), []

    def item(n: int) -> int:
        (tmp_path / f"{n}").touch()
        time.sleep(0.05)
        return n

    for outcome in run_bounded(pool, item, range(1000), stop=stop):
        ended.append(outcome.item)
        stop.set()
    assert sorted(ended) == sorted(int(path.name) for path in tmp_path.iterdir())
    assert max(ended) < 2 * pool.window


def test_what_nobody_wants_any_more_is_taken_back(pool: DaskPool) -> None:
    def item(n: int) -> int:
        time.sleep(0.2)
        return n

    outcomes = run_bounded(pool, item, range(1000))
    next(outcomes)
    assert pool._client.futures
    outcomes.close()
    until(lambda: not pool._client.futures and not pool.placed())
