"""What a person sees: whole at any width, and names of files move no cursor."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from seg_batch.cli.display.run_table import RunTable, table_of
from seg_batch.cli.display.tally import Tally
from seg_batch.core import events


def night(table: RunTable) -> None:
    key = "evil\x1b[2J\n.tif"
    receipt = {"tiles": 5, "skipped": 0, "worker": "h:1", "peak_rss_bytes": 3 << 30}
    for event in (
        events.PoolOpened("tcp://scheduler:8786", 2, "http://127.0.0.1:8787/status"),
        events.RunPlanned(inputs=4, done=1, refused=1, blocks=8, tiles=40),
        events.InputStarted(key, {"blocks": 4, "tiles": 20, "warnings": ["no CRS"]}),
        events.Stage("segmenting", key),
        events.BlockEnded("0.0", receipt=receipt, key=key),
        events.BlockEnded("0.1", error=OSError("gone"), key=key),
        events.WorkerTrouble("lost", "h:2", "it died"),
    ):
        table.on(event)


def shown(tally: Tally, width: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(
        table_of(tally, tally.began + 65, "", "1:05 since the start")
    )
    return out.getvalue()


def test_without_a_terminal_there_are_plain_lines() -> None:
    out = io.StringIO()
    with RunTable(console=Console(file=out, highlight=False, markup=False)) as table:
        night(table)
        table.on(events.RunEnded(130, "stopped by hand"))
    said = out.getvalue()
    assert "\x1b" not in said
    assert said.splitlines() == [
        "segbatch: 2 workers, tcp://scheduler:8786; dashboard http://127.0.0.1:8787/status",
        "segbatch: warning: evil\\x1b[2J\\n.tif: no CRS",
        "segbatch: evil\\x1b[2J\\n.tif: block 0.1 failed: gone",
        "segbatch: worker h:2 lost: it died",
        "segbatch: 1 of 4 inputs done, 1 refused, 2 waiting; stopped by hand",
    ]


def test_another_try_says_when_and_warns_of_nothing_again() -> None:
    out = io.StringIO()
    with RunTable(console=Console(file=out, highlight=False, markup=False)) as table:
        for wait_s in (0.0, 4.0):
            table.on(events.InputStarted("a.tif", {"warnings": ["no CRS"]}))
            table.on(events.InputRetried("a.tif", "a.tif: it stumbled", wait_s))
    assert out.getvalue().splitlines() == [
        "segbatch: warning: a.tif: no CRS",
        "segbatch: tried again at once: a.tif: it stumbled",
        "segbatch: tried again in 4 s: a.tif: it stumbled",
    ]


def test_on_a_terminal_there_is_a_table_and_what_matters_stays_above_it() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, highlight=False, markup=False)
    with RunTable(console=console) as table:
        night(table)
        text = shown(table._tally)
    for words in (
        *(
            "1 of 4 inputs done, 1 refused, 1 waiting, 1 in hand; 1:05 since the start",
            "2/8 blocks",
        ),
        *("evil\\x1b[2J\\n.tif", "2/4", "segmenting", "h:1", "3.0 GiB"),
    ):
        assert words in text, text
    assert "worker h:2 lost: it died" in out.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_names_give_way_at_their_front(width: int) -> None:
    tally, folder = Tally(0.0), "/in/" + "a_rather_long_folder/" * 3
    tally.take(events.RunPlanned(inputs=12_345, blocks=123_456, tiles=9_876_543), 0.0)
    names = ["/in/short.tif", f"{folder}one.tif", f"{folder}two.tif", f"{folder}\u9060\u304f.tif"]
    for name in names:
        tally.take(events.InputStarted(name, {"blocks": 36, "tiles": 720}), 0.0)
        tally.running[name].stage = "measuring mean and deviation"
    tally.seen("a-machine.of.a.cluster:" + "1" * 40, 1 << 33, 123_456, 1.0)
    lines = shown(tally, width).splitlines()
    assert max(map(cell_len, lines)) <= width
    rows = [line for line in lines if "measuring mean and deviation" in line]
    ends = [row.split()[0].rpartition("/")[2] for row in rows]
    assert ends == [Path(name).name for name in names]
    assert rows[0].startswith("short.tif ")
    assert rows[1].startswith("\N{HORIZONTAL ELLIPSIS}" if width == 80 else "a_rather")
    assert len(lines) == 2 + 5 + 2, lines


def test_between_nights_there_is_one_line(tmp_path: Path) -> None:
    """A watch that nobody sees says how things stand once, and no more until that changes."""
    out = io.StringIO()
    with RunTable(
        console=Console(file=out, highlight=False, markup=False), last_line=False
    ) as table:
        for _ in range(2):
            table.on(events.Idle("watching /in"))
        for words in ("2 workers, inline", "2 workers, inline"):
            table.on(events.PoolOpened(words.partition(", ")[2], 2))
            table.on(events.RunPlanned(inputs=1, blocks=1, tiles=1))
            table.on(events.RunEnded(0, "all inputs have come to an end"))
            table.on(events.Idle("watching /in: 1 done so far"))
    assert out.getvalue().splitlines() == [
        "segbatch: watching /in",
        "segbatch: 2 workers, inline",
        "segbatch: watching /in: 1 done so far",
    ]


def test_quiet_is_quiet() -> None:
    out = io.StringIO()
    with RunTable(quiet=True, console=Console(file=out, force_terminal=True)) as table:
        night(table)
    assert out.getvalue() == ""
