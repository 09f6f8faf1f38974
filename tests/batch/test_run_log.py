"""The log of a run: whole lines from many writers, five facts per failure, and what workers said."""

from __future__ import annotations

import json
import logging
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest

from seg_batch.batch.run_log import LogWriter, RunLog, failure, recording, remedy, worker_line
from seg_batch.core import events
from seg_batch.core.errors import ReadError
from seg_batch.executors import gather_logs, open_pool
from tests.support.patience import until


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_lines_of_many_threads_are_whole(tmp_path: Path) -> None:
    path = tmp_path / "run" / "log.jsonl"
    with RunLog(path) as log:

        def write(n: int) -> None:
            for i in range(100):
                log.write("info", "block", "x" * n, n=n, i=i)

        threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    told = lines(path)
    assert {(one["n"], one["i"]) for one in told} == {(n, i) for n in range(8) for i in range(100)}
    assert all(one.get("text", "") == "x" * one["n"] for one in told)


def test_a_torn_line_stands_alone(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"t": 1, "ev')
    with RunLog(path) as log:
        log.write("info", "pool")
    assert json.loads(path.read_text().splitlines()[1])["event"] == "pool"


def test_a_disk_that_refuses_stops_nothing() -> None:
    with RunLog(Path("/dev/full")) as log:
        log.write("info", "pool")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("OSError: [Errno 28] No space left on device: 'x'", "free some space"),
        ("OSError: [Errno 5] Input/output error", "tried again on its own"),
        ("KilledWorker: Attempted to run task on 4 workers, all died", "killed"),
        ("MemoryError: Unable to allocate 8 GiB", "--memory"),
        ("a.tif: the file is empty; copy it again from its origin", "copy it again from"),
        (
            "x.tif exists and is not ours, so it would be lost: use --overwrite or another output",
            "use --ov",
        ),
        ("ValueError: operands could not be broadcast", "report this line"),
    ],
)
def test_every_error_has_a_remedy(error: str, words: str) -> None:
    assert words in remedy(error)


def test_a_failure_names_input_block_worker_cause_and_remedy(tmp_path: Path) -> None:
    hurt = {"worker": "h:7", "unreadable": ["0:5,0:5"], "tiles": 1, "seconds": {}}
    partial = {
        "status": "partial",
        "output": "a_labels.tif",
        "worker": "h:9",
        "failures": [{"block": "0.0", "error": "the input can't be read at 0:5"}],
    }
    with RunLog(tmp_path / "log.jsonl") as log:
        writer, error = LogWriter(log), ReadError("strip 3 is damaged")
        for event in (
            events.BlockEnded("1.2", "h:5", error=error, key="a.tif"),
            events.BlockEnded("1.2", receipt=hurt, key="a.tif"),
            events.InputDone("a.tif", partial),
            events.InputFailed("a.tif", "a.tif: the file is empty; copy it again", 2, "h:8"),
            events.InputFailed("a.tif", "a.tif: there is no such file", 2),
            events.InputRetried("a.tif", "OSError: [Errno 5] Input/output error", 4.0, "h:6"),
        ):
            writer.on(event)
    failed = [one for one in lines(tmp_path / "log.jsonl") if "cause" in one]
    assert [one["event"] for one in failed] == [
        *("block failed", "block failed", "missing", "refused", "refused", "retried")
    ]
    for one in failed:
        assert {"input", "cause", "remedy"} <= one.keys(), one
        assert one["input"] == "a.tif"
    assert [one.get("block") for one in failed] == ["1.2", "1.2", "0.0", None, None, None]
    workers = [one.get("worker") for one in failed]
    assert workers == ["h:5", "h:7", "h:9", "h:8", None, "h:6"], "never who only wrote it down"


def test_a_night_is_written_with_these_keys_in_this_order(tmp_path: Path) -> None:
    """Whoever reads a log goes by them."""
    facts = {"blocks": 6, "tiles": 20, "promised_bytes": 5, "output": "o", "warnings": ["no CRS"]}
    receipt = {"worker": "h:1", "tiles": 3, "seconds": {"total": 1.23456}, "peak_rss_bytes": 9}
    result = {"status": "complete", "output": "o", "seconds": 2.0, "tiles": 3, "worker": "h:9"}
    with RunLog(tmp_path / "log.jsonl") as log:
        writer = LogWriter(log)
        for event in (
            events.PoolOpened("inline", 1),
            events.PoolOpened("tcp://x", 2, "http://d"),
            events.Surveyed(1, 2),
            events.Surveyed(2, 2),
            events.RunPlanned(4, 1, 1, 8, 40, 1.5),
            events.InputStarted("a", facts),
            events.Stage("segmenting", "a"),
            events.InputResumed("a", 2),
            events.BlockEnded("1.2", receipt=receipt, key="a"),
            events.InputDone("a", result),
            events.InputFailed("a", "no such file", 3),
            events.InputWithdrawn("a"),
            events.WorkerTrouble("lost", "h:2", "it died"),
            events.Advanced(3),
            events.Stopping("SIGINT received"),
            events.RunEnded(0, "all"),
            events.RunEnded(3, "all"),
        ):
            writer.on(event)
    written = [list(one.items()) for one in lines(tmp_path / "log.jsonl")]
    assert all([key for key, _ in one[:4]] == ["t", "level", "source", "event"] for one in written)
    assert [" ".join(f"{key}={value}" for key, value in one[3:]) for one in written] == [
        "event=pool pool=inline workers=1",
        "event=pool pool=tcp://x workers=2 dashboard=http://d",
        "event=surveyed inputs=2",
        "event=planned inputs=4 done=1 refused=1 blocks=8 tiles=40 seconds_estimate=1.5",
        "event=started input=a blocks=6 tiles=20 promised_bytes=5 output=o",
        "event=input text=no CRS input=a",
        "event=stage text=segmenting input=a",
        "event=resumed input=a blocks=2",
        "event=block input=a block=1.2 worker=h:1 seconds=1.235",
        "event=done input=a status=complete output=o seconds=2.0 tiles=3 worker=h:9",
        f"event=failed status=3 input=a cause=no such file remedy={remedy('no such file')}",
        "event=withdrawn input=a",
        "event=worker lost text=it died worker=h:2",
        "event=stopping text=SIGINT received",
        "event=ended text=all status=0",
        "event=ended text=all status=3",
    ]
    levels = [dict(one)["level"] for one in written]
    assert [n for n, level in enumerate(levels) if level != "info"] == [5, 10, 12, 13, 15]


def test_a_failure_is_one_line_of_json_whatever_its_words(tmp_path: Path) -> None:
    with RunLog(tmp_path / "log.jsonl") as log:
        log.write("error", "failed", **failure("a\nb\x1b[2J\udcff" + "x" * 9000, key="\n.tif"))
    (one,) = lines(tmp_path / "log.jsonl")
    assert one["input"] == "\n.tif"
    assert len(one["cause"]) < 5000


def test_what_libraries_warn_of_here_goes_to_the_log(tmp_path: Path) -> None:
    with RunLog(tmp_path / "log.jsonl") as log, recording(log):
        logging.getLogger("rasterio").warning("a %s of %d", "tile", 7)
        warnings.warn("old thing", stacklevel=1)
        logging.getLogger("rasterio").info("not this")
    logging.getLogger("rasterio").warning("nor this")
    told = lines(tmp_path / "log.jsonl")
    assert [one["logger"] for one in told] == ["rasterio", "py.warnings"]
    assert told[0]["text"] == "a tile of 7"
    assert "old thing" in told[1]["text"]


def _complain(n: int) -> int:
    for _ in range(50):
        logging.getLogger("rasterio").warning("block %d is odd", n)
    warnings.warn(f"deprecated {n}", stacklevel=1)
    return n


@pytest.mark.full
def test_what_libraries_warn_of_in_workers_comes_home(tmp_path: Path) -> None:
    """Of both processes, each line once."""
    path = tmp_path / "log.jsonl"
    with RunLog(path) as log, open_pool("local", 2) as pool:
        gather_logs(pool, lambda told: worker_line(log, told))
        here = set(pool.ask(_complain, 3)) and pool.ask(_pid)
        until(lambda: path.read_text().count("\n") >= 4, "all that was told")
    told = lines(path)
    pids = {str(pid) for pid in here.values()}
    assert {one["worker"].rpartition(":")[2] for one in told} == pids
    assert (
        sorted(one["text"] for one in told if one["logger"] == "rasterio") == ["block 3 is odd"] * 2
    )
    assert sum("deprecated 3" in one["text"] for one in told) == 2


def _pid() -> int:
    import os

    return os.getpid()
