"""What a person sees: the tally adds up whatever the order, and names of files move no cursor."""

from __future__ import annotations

import io
import math
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from seg_batch.executors import Outcome
from seg_batch.live import Board, Tally, drawn

steps = st.lists(
    st.tuples(
        st.sampled_from(["started", "block", "over", "again"]),
        st.sampled_from("abc"),
        st.integers(0, 9),
    ),
    max_size=60,
)


@given(steps)
def test_what_is_done_never_passes_what_there_is(script: list[tuple[str, str, int]]) -> None:
    """Three inputs of 3 blocks and 10 tiles, each told of in any order, each ending at most once."""
    tally, ended = Tally(0.0), set[str]()
    tally.planned({"inputs": 3, "blocks": 9, "tiles": 30})
    for now, (what, key, tiles) in enumerate(script, start=1):
        if what == "started" and key not in ended and key not in tally.running:
            tally.started(key, {"blocks": 3, "tiles": 10}, now)
        elif what == "block" and key in tally.running and tally.running[key].ended < 3:
            tally.block(key, {"tiles": tiles, "worker": "w", "peak_rss_bytes": tiles}, now)
        elif what == "over" and key in tally.running:
            tally.over(key, now)
            tally.done += 1
            ended.add(key)
        elif what == "again" and key in tally.running:
            tally.back(key)
        in_hand = [tally.running[k] for k in tally.running]
        assert tally.blocks[0] == 3 * len(ended) + sum(one.ended for one in in_hand)
        assert tally.tiles[0] == 10 * len(ended) + sum(one.counted for one in in_hand)
        assert tally.tiles[0] <= 30
        assert tally.waiting == 3 - len(ended) - len(in_hand)
        assert tally.left_s(now) >= 0


def test_the_time_left_follows_the_speed_of_late() -> None:
    tally = Tally(0.0)
    tally.planned({"inputs": 1, "blocks": 100, "tiles": 1000})
    assert tally.left_s(10.0) == math.inf
    tally.started("a", {"blocks": 100, "tiles": 1000}, 0.0)
    for i in range(50):  # 10 tiles every 10 s
        tally.block("a", {"tiles": 10, "worker": "w", "peak_rss_bytes": 5}, 10.0 * (i + 1))
    assert 0.95 <= tally.per_s(500.0) <= 1.05
    assert 470 <= tally.left_s(500.0) <= 530
    assert tally.per_s(900.0) == 0, "nothing for longer than it looks back"


def night(board: Board) -> None:
    board.pool("tcp://scheduler:8786", 2, "http://127.0.0.1:8787/status")
    board.planned({"inputs": 4, "done": 1, "refused": 1, "blocks": 8, "tiles": 40})
    board.started("evil\x1b[2J\n.tif", {"blocks": 4, "tiles": 20, "warnings": ["no CRS"]})
    board.stage("evil\x1b[2J\n.tif", "segmenting")
    receipt = {"tiles": 5, "skipped": 0, "worker": "h:1", "peak_rss_bytes": 3 << 30}
    board.block("evil\x1b[2J\n.tif", Outcome(SimpleNamespace(name="0.0"), result=receipt))
    board.block("evil\x1b[2J\n.tif", Outcome(SimpleNamespace(name="0.1"), error=OSError("gone")))
    board.worker("lost", "h:2", "it died")


def shown(tally: Any) -> str:
    out = io.StringIO()
    Console(file=out, width=100).print(drawn(tally, tally.began + 65, "2 workers, local", ""))
    return out.getvalue()


def test_without_a_terminal_there_are_plain_lines() -> None:
    out = io.StringIO()
    with Board(console=Console(file=out, highlight=False, markup=False)) as board:
        night(board)
        board.ended(130, "stopped by hand")
    said = out.getvalue()
    assert "\x1b" not in said
    assert said.splitlines() == [
        "segbatch: 2 workers, tcp://scheduler:8786; dashboard http://127.0.0.1:8787/status",
        "segbatch: warning: evil�[2J�.tif: no CRS",
        "segbatch: evil�[2J�.tif: block 0.1 failed: gone",
        "segbatch: worker h:2 lost: it died",
        "segbatch: 1 of 4 inputs done, 1 refused, 1 running, 1 waiting; stopped by hand",
    ]


def test_on_a_terminal_there_is_a_table_and_what_matters_stays_above_it() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, highlight=False, markup=False)
    with Board(console=console) as board:
        night(board)
        text = shown(board._tally)
    for words in (
        *("1 of 4 inputs done, 1 refused, 1 running, 1 waiting", "2/8 blocks", "1:05 since"),
        *("evil�[2J�.tif", "2/4", "segmenting", "h:1", "3.0 GiB"),
    ):
        assert words in text, text
    assert "worker h:2 lost: it died" in out.getvalue()


def test_quiet_is_quiet() -> None:
    out = io.StringIO()
    with Board(quiet=True, console=Console(file=out, force_terminal=True)) as board:
        night(board)
    assert out.getvalue() == ""
