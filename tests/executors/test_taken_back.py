"""A run that is stopped finishes what its workers have begun, and nothing else is ever begun."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.executors import dask_pool, open_pool, run_bounded
from seg_batch.executors.dask_pool import DaskPool
from seg_batch.executors.task import TakenBackError, TaskWrapper, cancel_unstarted, start_item
from seg_batch.executors.task_grouping import TASK_S, TaskGroup
from tests.support.patience import PATIENCE_S, until

AT_WORK = 4  # items that the pool does at once


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9))))
def test_nothing_begins_once_it_is_taken_back_and_what_has_begun_is_told(
    drawn: list[tuple[bool, int]],
) -> None:
    names = [uuid.uuid4().hex for _ in range(10)]
    begun, back = set(), set()
    for begins, n in drawn:
        key = names[n]
        if begins:
            assert start_item(key) is (key not in back)
            begun |= {key} - back
        else:
            assert cancel_unstarted([key]) == [key] * (key in begun)
            back |= {key}


@pytest.fixture(scope="module")
def pool() -> Iterator[DaskPool]:
    with open_pool("local", 2) as pool:
        yield pool


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker is taken to be silent because the machine is slow."""
    monkeypatch.setattr(dask_pool, "TAKE_BACK_S", PATIENCE_S)


@pytest.mark.full
def test_the_rest_of_a_task_that_is_at_work_is_taken_back(pool: DaskPool, tmp_path: Path) -> None:
    def item(n: int) -> int:
        (tmp_path / f"{n}").touch()
        until((tmp_path / "taken back").exists)
        return n

    task = pool.submit(TaskGroup(TaskWrapper(item)), range(3))
    until((tmp_path / "0").exists)
    assert pool.take_back([task]) == []
    (tmp_path / "taken back").touch()
    first, *others = task.result()
    assert first.result == 0
    assert [type(one.error) for one in others] == [TakenBackError] * 2
    assert not (tmp_path / "1").exists()


@pytest.mark.full
@pytest.mark.parametrize("together", [1, 4])
def test_what_no_worker_has_begun_never_begins(
    pool: DaskPool, tmp_path: Path, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each item leaves a file as it begins, and is at work until the rest was taken back. All whose file
    is there end, and no other comes, though several go ``together`` as one task."""
    begun, over = tmp_path / "begun", tmp_path / "taken back"
    begun.mkdir()

    def item(n: int) -> int:
        (begun / f"{n}").touch()
        until(over.exists)
        return n

    def items() -> Iterator[int]:
        nonlocal handed_out
        while True:
            handed_out += 1
            yield handed_out

    def taken_back(futures: Any) -> Any:
        try:
            return take_back(futures)
        finally:
            over.touch()

    def stop_once_begun() -> None:
        until(lambda: handed_out == pool.window * together)
        until(lambda: len(list(begun.iterdir())) == AT_WORK)
        stop.set()

    take_back = pool.take_back
    monkeypatch.setattr(pool, "take_back", taken_back)
    stop, handed_out = threading.Event(), 0
    ended: list[int] = []
    threading.Thread(target=stop_once_begun, daemon=True).start()
    for outcome in run_bounded(
        pool, item, items(), stop=stop, seconds=lambda n: TASK_S / together, together=together
    ):
        assert outcome.error is None
        ended.append(outcome.item)
    found = {int(path.name) for path in begun.iterdir()}
    assert set(ended) == found
    assert len(found) == AT_WORK < handed_out, "some were not begun"
    time.sleep(1)
    assert {int(path.name) for path in begun.iterdir()} == found
    assert len(list(run_bounded(pool, abs, range(20)))) == 20, "the pool goes on to serve others"
