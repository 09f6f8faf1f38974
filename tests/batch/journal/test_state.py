"""The state of a run is the fold of its events, from any prefix on, in one go or one by one."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from seg_batch.batch.journal import State, fold
from seg_batch.batch.journal.state import STATUSES
from tests.support.batch.journal import begun, event, outcome

KEYS = st.sampled_from(["a.tif", "b.tif", "c.nii.gz"])
WORKERS = st.sampled_from([None, "w1", "w2"])
FACTS = st.builds(
    lambda blocks, voxels: {"blocks": blocks, "voxels": voxels}, st.integers(1, 9), st.integers(1)
)
OUTCOMES = st.sampled_from(
    [outcome(), outcome(blocks=4), outcome("partial", blocks=4, failed=1), outcome("partial")]
)
OF_INPUTS = st.one_of(
    st.builds(lambda k, f: event("surveyed", k, facts=f), KEYS, FACTS),
    st.builds(lambda k: event("refused", k, error="bad"), KEYS),
    st.builds(lambda k, n, w: event("started", k, attempt=n, worker=w), KEYS, st.integers(1, 4), WORKERS),
    st.builds(lambda k: event("retried", k, attempt=1, error="slow", wait_s=4), KEYS),
    st.builds(lambda k, o: event("done", k, outcome=o), KEYS, OUTCOMES),
    st.builds(lambda k: event("dropped", k), KEYS),
    st.builds(lambda k, w: event("failed", k, error="no", status=1, worker=w), KEYS, WORKERS),
)  # fmt: skip
OF_RUNS = st.one_of(
    st.just(begun()),
    st.just(event("worker_lost", None, worker="w1", why="killed")),
    st.just(event("worker_dropped", None, worker="w2", why="fails")),
    st.just(event("straggler", None, worker="w1", why="b.tif: 0.1: 9 s")),
    st.just(event("stopping", None, why="06:30")),
    st.just(event("ended", None, status=0, why="complete")),
    st.just(event("taken_over", None, from_host="h", from_pid=1)),
)
EVENTS = st.lists(st.one_of(OF_INPUTS, OF_INPUTS, OF_RUNS), max_size=40).map(
    lambda events: [{**e, "t": float(i)} for i, e in enumerate(events)]
)


def slow_status(events: list[dict[str, Any]], key: str) -> str | None:
    """The status of one input, from its last event that tells one and what came behind it."""
    told = [(i, e) for i, e in enumerate(events) if e["input"] == key]
    if not told or told[-1][1]["event"] == "dropped":
        return None
    at, last = told[-1]
    if last["event"] == "started":
        anew = any(e["event"] == "begun" for e in events[at:])
        return "waiting" if anew else "running"
    if last["event"] == "done":
        return str(last["outcome"]["status"])
    return {"surveyed": "waiting", "retried": "waiting"}.get(last["event"], last["event"])


def shown(state: State) -> tuple[Any, ...]:
    return (
        list(state.inputs.items()),
        list(state.workers.items()),
        state.totals(),
        (state.begun, state.stopping, state.ended),
    )


@given(events=EVENTS)
def test_every_prefix_folds_and_in_any_portions(events: list[dict[str, Any]]) -> None:
    one_by_one = State()
    for n in range(len(events) + 1):
        prefix = events[:n]
        if n:
            one_by_one.add(events[n - 1])
        assert shown(fold(prefix)) == shown(one_by_one)
        for key, found in one_by_one.inputs.items():
            assert found.status == slow_status(prefix, key)
    half = len(events) // 2
    assert shown(fold(events[half:], fold(events[:half]))) == shown(one_by_one)


@given(events=EVENTS)
def test_totals_are_the_sums_over_the_inputs(events: list[dict[str, Any]]) -> None:
    state = fold(events)
    totals, inputs = state.totals(), list(state.inputs.values())
    statuses = Counter(one.status for one in inputs)
    assert dict(totals.by_status) == {name: statuses[name] for name in STATUSES}
    assert totals.inputs == len(inputs)
    worth = [one for one in inputs if one.status not in ("refused", "failed")]
    assert totals.blocks == sum(one.blocks for one in worth)
    assert totals.voxels == sum(one.voxels for one in worth)
    made = [one for one in inputs if one.status in ("complete", "partial")]
    assert totals.voxels_done == sum(one.voxels for one in made)
    assert totals.blocks_done == sum(one.outcome["blocks"]["done"] for one in made if one.outcome)
    last = max((i for i, e in enumerate(events) if e["event"] == "begun"), default=0)
    kinds = Counter(e["event"] for e in events)
    assert totals.session_ended == sum(e["event"] in ("done", "failed") for e in events[last:])
    assert (totals.retries, totals.stragglers) == (kinds["retried"], kinds["straggler"])
    assert (totals.takeovers, totals.sessions) == (kinds["taken_over"], kinds["begun"])


def test_an_input_of_several_blocks_is_its_workers_and_not_its_leaders() -> None:
    facts = {"blocks": 4, "voxels": 100}
    state = fold([begun(1), event("surveyed", "a", 2, facts=facts)])
    done = {**outcome(blocks=4), "worker": "coordinator", "workers": {"w1": 3, "w2": 1}}
    state.add(event("done", "a", 3, outcome=done))
    assert {w.name: (w.ended, w.blocks) for w in state.workers.values()} == {
        "w1": (0, 3),
        "w2": (0, 1),
    }
    state.add(event("surveyed", "b", 4, facts=facts))
    state.add(event("failed", "b", 5, error="no", status=3, worker="coordinator"))
    assert "coordinator" not in state.workers


def test_the_story_of_one_input() -> None:
    state = fold([begun(1), event("surveyed", "a", 2, facts={"blocks": 4, "voxels": 100})])
    state.add(event("started", "a", 3, attempt=1, worker="w1"))
    one = state.inputs["a"]
    assert (one.status, one.attempts, one.since, one.worker) == ("running", 1, 3, "w1")
    state.add(event("retried", "a", 5, attempt=1, error="EIO", wait_s=4))
    one = state.inputs["a"]
    assert (one.status, one.error, one.again_at) == ("waiting", "EIO", 9)
    state.add(event("started", "a", 9, attempt=2, worker="w2"))
    state.add(event("done", "a", 12, outcome=outcome("partial", blocks=4, failed=1)))
    one = state.inputs["a"]
    assert (one.status, one.error, one.again_at) == ("partial", "can't be read", None)
    assert state.workers["w1"].ended == 1
    state.add(begun(20))
    assert state.inputs["a"].status == "partial"
    state.add(event("started", "a", 21, attempt=1, worker=None))
    state.add(begun(30))
    assert (state.inputs["a"].status, state.inputs["a"].outcome) == (
        "waiting",
        outcome("partial", blocks=4, failed=1),
    )
    assert state.totals().session_ended == 0
