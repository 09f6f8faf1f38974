"""Stragglers and hopeless workers, against slow and obvious ways to tell them."""

import statistics

from hypothesis import given
from hypothesis import strategies as st

from seg_batch.executors.retry_state import stragglers
from seg_batch.executors.worker_health import Health

times = st.floats(0, 1000, allow_nan=False)


@given(st.dictionaries(st.integers(0, 50), times), st.lists(times, max_size=30), times)
def test_late_is_longer_than_three_medians(
    begun: dict[int, float], seconds: list[float], now: float
) -> None:
    found = stragglers(now, begun, seconds)
    expected = set()
    if len(seconds) >= 8:
        for key, at in begun.items():
            age = now - at
            if age > 2.0 and age > 3 * statistics.median(seconds):
                expected.add(key)
    assert set(found) == expected
    assert [begun[key] for key in found] == sorted(begun[key] for key in found)


def test_a_median_of_seven_says_nothing() -> None:
    assert stragglers(1000, {0: 0.0}, [1.0] * 7) == []
    assert stragglers(1000, {0: 0.0}, [1.0] * 8) == [0]


Event = tuple[str, int, bool]  # worker, item, whether it was done


def blamed(history: list[Event], worker: str) -> int:
    """Items that failed at ``worker`` after its last success and were done elsewhere after that."""
    last = max((i for i, (w, _, good) in enumerate(history) if w == worker and good), default=-1)
    found = set()
    for i, (w, item, good) in enumerate(history):
        if w == worker and not good and i > last:
            later = history[i + 1 :]
            found |= {item for v, other, fine in later if v != worker and other == item and fine}
    return len(found)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.booleans()), max_size=80))
def test_a_worker_is_dropped_when_three_items_that_failed_there_were_done_elsewhere(
    drawn: list[Event],
) -> None:
    """An item is over with its first success; until then it may fail here and there."""
    health, history, failed, dropped = Health(), [], {}, {}
    for worker, item, good in drawn:
        if any(other == item and fine for _, other, fine in history):
            continue
        history.append((worker, item, good))
        if good:
            found = health.succeeded(worker, failed.pop(item, {}))
            dropped |= found
        else:
            failed.setdefault(item, {})[worker] = health.failed(worker, f"item {item}")
        hopeless = {w for w in "abc" if blamed(history, w) >= 3}
        assert hopeless <= set(dropped)
        if good:
            assert set(found) <= hopeless
        assert health.proven(worker) == any(w == worker and fine for w, _, fine in history)


def test_it_is_told_once_with_the_error() -> None:
    health = Health()
    marks = [health.failed("bad", "OSError: no space") for _ in range(4)]
    told = [health.succeeded("good", {"bad": mark}) for mark in marks]
    assert [list(one) for one in told] == [[], [], ["bad"], []]
    assert "OSError: no space" in told[2]["bad"]


def test_a_success_of_its_own_clears_a_worker() -> None:
    health = Health()
    for _ in range(10):
        marks = [health.failed("flaky", "x") for _ in range(2)]
        assert not any(health.succeeded("good", {"flaky": mark}) for mark in marks)
        health.succeeded("flaky")
    stale = health.failed("flaky", "x")
    health.succeeded("flaky")
    assert not any(health.succeeded("good", {"flaky": stale}) for _ in range(5))
