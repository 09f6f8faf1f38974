"""What is known of a night adds up, in whatever order it is told."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.cli.display.tally import Tally
from seg_batch.core import events

steps = st.lists(
    st.tuples(
        st.sampled_from(["started", "resumed", "block", "lost block", "done", "failed", "again"]),
        st.sampled_from("abc"),
        st.integers(0, 3),
    ),
    max_size=60,
)
RECEIPT = {"tiles": 5, "worker": "w", "peak_rss_bytes": 7}
BLOCK = events.BlockEnded("0.0", receipt=RECEIPT, key="large")


@given(steps)
def test_what_is_done_never_passes_what_there_is(script: list[tuple[str, str, int]]) -> None:
    """Three inputs of 3 blocks and 10 tiles, each told of in any order, each ending at most once."""
    tally, done, failed = Tally(0.0), set[str](), dict[str, tuple[int, int]]()
    tally.take(events.RunPlanned(inputs=3, blocks=9, tiles=30), 0.0)
    for now, (what, key, blocks) in enumerate(script, start=1):
        one = tally.running.get(key)
        if what == "started" and one is None and key not in done | failed.keys():
            tally.take(events.InputStarted(key, {"blocks": 3, "tiles": 10}), now)
        elif one is None:
            continue
        elif what == "resumed" and one.ended == 0:
            tally.take(events.InputResumed(key, blocks), now)
        elif "block" in what and one.ended < 3:
            receipt = None if what == "lost block" else RECEIPT
            tally.take(events.BlockEnded("0.0", receipt=receipt, key=key), now)
        elif what == "done":
            tally.take(events.InputDone(key, {"status": "complete"}), now)
            done.add(key)
        elif what == "failed":
            failed[key] = one.ended, one.counted
            tally.take(events.InputFailed(key, "it stumbled", 3), now)
        elif what == "again":
            tally.take(events.InputWithdrawn(key), now)
        ended = [(one.ended, one.counted) for one in tally.running.values()] + [*failed.values()]
        assert tally.blocks[0] == 3 * len(done) + sum(blocks for blocks, _ in ended)
        assert tally.tiles[0] == 10 * len(done) + sum(tiles for _, tiles in ended)
        assert tally.blocks[1] == 9 - sum(3 - blocks for blocks, _ in failed.values())
        assert tally.tiles[1] == 30 - sum(10 - tiles for _, tiles in failed.values())
        assert tally.tiles[0] <= tally.tiles[1]
        assert tally.waiting == 3 - len(done) - len(failed) - len(tally.running)
        assert tally.left_s(now) >= 0


def test_the_time_left_follows_the_speed_of_late() -> None:
    tally = Tally(0.0)
    tally.take(events.RunPlanned(inputs=1, blocks=100, tiles=1000), 0.0)
    assert tally.left_s(10.0) == math.inf
    tally.take(events.InputStarted("a", {"blocks": 100, "tiles": 1000}), 0.0)
    for i in range(50):  # 10 tiles every 10 s
        receipt = {"tiles": 10, "worker": "w", "peak_rss_bytes": 5}
        tally.take(events.BlockEnded("0.0", receipt=receipt, key="a"), 10.0 * (i + 1))
    assert 0.95 <= tally.per_s(500.0) <= 1.05
    assert 470 <= tally.left_s(500.0) <= 530
    assert tally.per_s(900.0) == 0, "nothing for longer than it looks back"


def begun() -> Tally:
    """One input of 36 blocks and 720 tiles, of which 12 blocks are on disk, and a small one."""
    tally = Tally(0.0)
    tally.take(events.RunPlanned(inputs=2, blocks=37, tiles=729), 0.0)
    tally.take(events.InputStarted("large", {"blocks": 36, "tiles": 720}), 0.0)
    tally.take(events.InputStarted("small", {"blocks": 1, "tiles": 9}), 0.0)
    tally.take(events.InputResumed("large", 12), 0.0)
    return tally


def test_what_was_done_before_is_progress_and_no_speed() -> None:
    tally = begun()
    assert (tally.blocks, tally.tiles) == ([12, 37], [240, 729])
    assert tally.per_s(10.0) == 0
    tally.take(BLOCK, 10.0)
    assert tally.per_s(10.0) == 2
    assert tally.left_s(10.0) == (729 - 260) / 2


def test_what_failed_is_no_speed_and_no_longer_ahead() -> None:
    tally = begun()
    tally.take(events.InputFailed("small", "it stumbled", 3), 10.0)
    tally.take(replace(BLOCK, receipt=None), 10.0)
    assert (tally.blocks, tally.tiles) == ([13, 36], [260, 720])
    assert tally.per_s(10.0) == 0
    assert "1.41" not in tally.speed(10.0)
    tally.take(events.InputFailed("large", "it stumbled", 3), 10.0)
    assert tally.left_s(10.0) == 0


def test_a_night_that_stops_tells_no_time() -> None:
    tally = begun()
    tally.take(BLOCK, 10.0)
    assert "left" in tally.speed(10.0)
    tally.take(events.Stopping("enough"), 10.0)
    assert tally.speed(10.0) == "13/37 blocks, what workers have in hand is finished"


@pytest.mark.parametrize(
    ("keys", "shown"),
    [
        (["/in/a/1.tif", "/in/a/2.tif"], ["1.tif", "2.tif"]),
        (["/in/a/1.tif", "/in/ab/1.tif"], ["a/1.tif", "ab/1.tif"]),
        (["/1.tif", "/in/1.tif"], ["1.tif", "in/1.tif"]),
        (["1.tif", "in/1.tif"], ["1.tif", "in/1.tif"]),
        (["/in/1.tif", "in/1.tif"], ["/in/1.tif", "in/1.tif"]),
        (["/in/1.tif"], ["1.tif"]),
    ],
)
def test_names_are_short_and_still_differ(keys: list[str], shown: list[Any]) -> None:
    tally = Tally(0.0)
    for key in keys:
        tally.take(events.InputStarted(key, {"blocks": 1, "tiles": 1}), 0.0)
    assert [tally.short(key) for key in keys] == shown


def test_a_series_is_shown_by_its_number_and_description() -> None:
    tally, uid = Tally(0.0), f"1.2.840.113619.{'7' * 30}.4711"
    image = {"number": 3, "description": "Abdomen portal", "slices": 120}
    keys = [f"/a/study#{uid}", f"/a/other#{uid}", "/a/mr.nii.gz"]
    for key, facts in zip(keys, ({"image": image}, {}, {"image": {"slices": 9}}), strict=True):
        tally.take(events.InputStarted(key, facts, 1), 0.0)
    shown = [tally.short(key) for key in keys]
    assert shown == ["study, series 3 Abdomen portal", "other, …777.4711", "mr.nii.gz"]
