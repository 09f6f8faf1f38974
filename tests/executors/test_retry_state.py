"""The course of a run in a simulated world: every item ends once, and as it should."""

import random
from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from seg_batch.executors.faults import Fault
from seg_batch.executors.retry_state import COPIES, FORGIVEN, PATIENCE, Attempt, TaskStateMachine
from seg_batch.executors.worker_health import Health


@dataclass
class World:
    """Workers that can do one item at a time, some of them none at all; items that nobody can do."""

    seed: int
    good: list[str]
    bad: list[str]
    doomed: dict[int, Fault]
    now: float = 0.0
    ends: dict[int, list[str]] = field(default_factory=dict)
    tries: Counter = field(default_factory=Counter)
    dropped: list[str] = field(default_factory=list)
    times: dict[int, list[float]] = field(default_factory=dict)

    def workers(self) -> list[str]:
        return [w for w in self.good + self.bad if w not in self.dropped]

    def place(self, attempt: Attempt, rng: random.Random) -> str:
        others = [w for w in self.workers() if w not in attempt.avoid]
        return rng.choice(others or self.workers())

    def run(self, n: int, window: int, retries: int, most: int | None = None) -> None:
        rng = random.Random(self.seed)
        course = TaskStateMachine(range(n), Health(), self.workers, retries, most)
        flying: list[tuple[Attempt, str]] = []
        while True:
            while attempt := course.next(self.now, window):
                flying.append((attempt, self.place(attempt, rng)))
                self.tries[attempt.item] += 1
                self.times.setdefault(attempt.item, []).append(self.now)
            assert course.in_flight == len(flying) <= window
            if not course.busy:
                return
            if not flying:
                self.now += course.wait_s(self.now) + 1e-6
                continue
            self.now += rng.random() / 10
            self.end(course, *flying.pop(rng.randrange(len(flying))))

    def end(self, course: TaskStateMachine, attempt: Attempt, worker: str) -> None:
        fault = self.doomed.get(attempt.item) or ("other" if worker in self.bad else None)
        end = course.ended(attempt, worker, fault, self.now, "an error")
        self.dropped += end.hopeless
        if end.what != "again":
            self.ends.setdefault(attempt.item, []).append(end.what)


faults = st.sampled_from(["final", "unable", "passing", "other"])
worlds = st.builds(
    World,
    seed=st.integers(0, 2**32),
    good=st.sampled_from([["g0"], ["g0", "g1"], ["g0", "g1", "g2", "g3"]]),
    bad=st.sampled_from([[], ["b0"], ["b0", "b1", "b2"]]),
    doomed=st.dictionaries(st.integers(0, 30), faults, max_size=6),
)


@given(worlds, st.integers(1, 12), st.integers(0, 2))
def test_items_fail_if_nobody_can_do_them_and_never_for_their_worker(
    world: World, window: int, retries: int
) -> None:
    world.run(31, window, retries)
    for item in range(31):
        assert world.ends[item] == (["failed"] if item in world.doomed else ["done"])
    assert not set(world.dropped) & set(world.good)
    for item, fault in world.doomed.items():
        if fault == "final":
            assert world.tries[item] == 1
        most = PATIENCE if fault == "passing" else retries
        assert world.tries[item] <= 1 + FORGIVEN + most


@given(worlds, st.integers(1, 12), st.integers(0, 5))
def test_no_item_is_tried_more_often_than_allowed(world: World, window: int, most: int) -> None:
    """Whatever the faults, and whoever's; one that passes is tried as often where it is the item's."""
    world.run(31, window, 1, most)
    assert max(world.tries.values()) <= 1 + most
    if not world.bad:
        passing = [item for item, fault in world.doomed.items() if fault == "passing"]
        assert all(world.tries[item] == 1 + most for item in passing)


@given(worlds)
def test_a_bad_worker_is_dropped_once_it_has_spoilt_three_items(world: World) -> None:
    world.doomed = {}
    world.run(200, 6, 1)
    assert sorted(world.dropped) == world.bad


def test_alone_there_is_no_elsewhere_and_an_item_is_tried_as_often_as_asked() -> None:
    for retries in (0, 1, 3):
        world = World(0, ["only"], [], {0: "other", 1: "unable"})
        world.run(5, 2, retries)
        assert (world.tries[0], world.tries[1]) == (1 + retries, 1)


def test_waits_between_tries_grow() -> None:
    world = World(0, ["only"], [], {0: "passing"})
    world.run(1, 2, 1)
    waits = [b - a for a, b in zip(world.times[0], world.times[0][1:], strict=False)]
    assert [int(wait) for wait in waits] == [1, 4, 16]


def begun(n: int, window: int, now: float = 0.0) -> tuple[TaskStateMachine, list[Attempt]]:
    course = TaskStateMachine(range(n), Health(), lambda: ["a", "b"])
    attempts = []
    while attempt := course.next(now, window):
        attempts.append(attempt)
    return course, attempts


def one_left() -> TaskStateMachine:
    """Nine of ten items are done, in a second each."""
    course, flying = begun(10, 10)
    for attempt in flying[1:]:
        course.ended(attempt, "a", None, 1.0)
    assert course.next(1.0, 10) is None
    return course


@given(st.integers(0, 2**32), st.sets(st.integers(0, 30), max_size=3), st.integers(2, 12))
def test_who_dies_beside_a_deadly_item_is_not_given_up_with_it(
    seed: int, deadly: set[int], window: int
) -> None:
    """Whatever a worker has in hand ends with it, and nobody says why. Each deadly item can take
    another with it once: from then on it is tried apart from all that it may have hit."""
    rng = random.Random(seed)
    most = max(1, len(deadly))
    course = TaskStateMachine(range(31), Health(), lambda: "ab", most=most)
    flying: list[tuple[Attempt, str]] = []
    ends: Counter[tuple[int, str]] = Counter()
    now = 0.0
    while True:
        while attempt := course.next(now, window):
            flying.append((attempt, rng.choice("ab")))
        if not course.busy:
            break
        now += course.wait_s(now) + 1e-6
        if not flying:
            continue
        attempt, worker = flying.pop(rng.randrange(len(flying)))
        hit = [(attempt, worker)]
        if attempt.item in deadly:
            hit += [one for one in flying if one[1] == worker]
            flying = [one for one in flying if one[1] != worker]
        for one, _ in hit:
            end = (
                course.ended(one, "", "passing", now)
                if attempt.item in deadly
                else course.ended(one, worker, None, now)
            )
            ends[one.item, end.what] += 1
    given_up = {item for item, what in ends if what == "failed"}
    assert given_up == deadly
    assert {item for item, what in ends if what == "done"} == set(range(31)) - deadly


def test_a_hung_suspect_is_copied_though_others_wait_for_its_end() -> None:
    course, flying = begun(12, 12)
    for attempt in flying[:3]:
        assert course.ended(attempt, "", "passing", 1.0).what == "again"
    for attempt in flying[3:]:
        course.ended(attempt, "a", None, 1.0)
    tried = course.next(50.0, 12)
    assert course.next(50.0, 12) is None
    assert course.late(500.0, 11) == [tried]
    assert 0 < course.wait_s(500.0) <= 1.0


def test_no_copy_while_anything_waits_or_there_is_no_room() -> None:
    course, flying = begun(20, 10)
    for attempt in flying[1:]:
        course.ended(attempt, "a", None, 1.0)
    assert course.late(100.0, 10) == []  # ten more wait
    rest = [course.next(50.0, 11) for _ in range(10)]
    assert course.next(50.0, 10) is None
    assert course.late(100.0, 0) == []  # no room
    for attempt in rest:
        course.ended(attempt, "a", None, 51.0)
    assert course.next(51.0, 10) is None
    assert course.late(100.0, 10) == [flying[0]]


def test_what_is_taken_back_waits_again_and_counts_as_no_try() -> None:
    course, attempts = begun(5, 3)
    course.take_back(attempts[1], 1.0)
    assert course.in_flight == 2
    again = course.next(1.0, 3)
    assert again is not None
    assert (again.item, again.which) == (attempts[1].item, 1)
    assert course.ended(attempts[1], "a", None, 1.0).what == "ignored"


def test_what_is_taken_back_once_closed_was_never_there() -> None:
    course, attempts = begun(5, 3)
    course.close()
    for attempt in attempts[:2]:
        course.take_back(attempt)
    assert course.in_flight == 1
    assert course.ended(attempts[0], "a", None, 1.0).what == "ignored"
    assert course.ended(attempts[2], "a", None, 1.0).what == "done"
    assert not course.busy


def test_the_first_result_counts_and_the_other_is_ignored() -> None:
    for first in (0, 1):
        course = one_left()
        [slow] = course.late(100.0, 10)
        pair = [slow, course.copy(slow, ["b"], 100.0)]
        assert pair[1].avoid == {"b"}
        end = course.ended(pair[first], "a", None, 101.0)
        assert (end.what, end.rivals) == ("done", (pair[1 - first],))
        assert course.ended(pair[1 - first], "b", None, 102.0).what == "ignored"
        assert (course.busy, course.in_flight) == (False, 0)


def test_a_failed_copy_changes_nothing_while_the_first_is_at_work() -> None:
    course = one_left()
    [slow] = course.late(100.0, 10)
    copy = course.copy(slow, ["b"], 100.0)
    assert course.ended(copy, "a", "final", 101.0).what == "ignored"
    assert course.ended(slow, "b", None, 102.0).what == "done"


def test_copies_are_few() -> None:
    course = one_left()
    for n in range(1, 10):
        for attempt in course.late(100.0 * n, 10):
            course.copy(attempt, ["b"], 100.0 * n)
    assert course.in_flight == COPIES


def test_once_closed_nothing_begins_not_even_another_try() -> None:
    course, flying = begun(20, 10)
    assert course.ended(flying[0], "a", "passing", 1.0).what == "again"
    assert course.ended(flying[1], "", "passing", 1.0).what == "again"
    course.close()
    assert course.ended(flying[2], "b", "other", 1.0).what == "ignored"
    assert [course.ended(a, "a", None, 2.0).what for a in flying[3:]] == ["done"] * 7
    assert (course.next(100.0, 10), course.busy) == (None, False)


def test_a_full_disk_ends_the_run_unless_it_may_be_that_workers_own() -> None:
    course, flying = begun(10, 10)
    course.ended(flying[0], "b", None, 1.0)
    assert course.ended(flying[1], "b", "full", 1.0).what == "again"
    again = course.next(1.0, 10)
    assert again is not None
    assert again.avoid == {"b"}
    assert course.ended(again, "a", "full", 2.0).what == "full"


def test_alone_a_full_disk_ends_the_run_at_once() -> None:
    course = TaskStateMachine(range(3), Health(), lambda: ["only"])
    attempt = course.next(0.0, 2)
    assert attempt is not None
    assert course.ended(attempt, "only", "full", 1.0).what == "full"
