"""``segbatch status``: what a folder tells about its run, from another terminal."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from seg_batch.batch.journal import Journal, acquire, open_run
from seg_batch.batch.journal.state import fold
from seg_batch.batch.journal.status import BlockDone, _pace, run_folder, status_of
from seg_batch.batch.summaries import BlocksOnDisk
from seg_batch.cli.status import status_lines
from seg_batch.core.errors import InputError
from seg_batch.core.run_files import JOURNAL
from tests.support.batch.journal import BEGUN, Holder, begun, event, outcome
from tests.support.files import segbatch


def told(journal: Journal, folder: Path) -> None:
    """Four inputs: complete, running (3 of 8 blocks), refused, failed."""
    journal.append("begun", **BEGUN)
    for key, blocks in (("a.tif", 2), ("b.tif", 8), ("d.tif", 1)):
        facts = {"blocks": blocks, "voxels": 1000 * blocks, "output": str(folder / key)}
        journal.append("surveyed", key, facts=facts)
    journal.append("refused", "c.tif", error="c.tif is empty")
    journal.append("started", "a.tif", attempt=1, worker="w1")
    journal.append("done", "a.tif", outcome=outcome(blocks=2))
    journal.append("started", "b.tif", attempt=2, worker=None)
    journal.append("failed", "d.tif", error="the model broke", status=1, worker="w2", attempts=1)
    journal.append("worker_lost", worker="w2", why="killed")
    markers = folder / "b.tif.work.zarr" / "done"
    markers.mkdir(parents=True)
    now = time.time()
    for name, worker in (("0.0", "w1"), ("0.1", "w3"), ("1.0", "w3")):
        (markers / f"{name}.json").write_text(
            json.dumps({"worker": worker, "spell": [now - 2, now]})
        )
    for name in ("steps.json", "lock"):
        (markers / name).touch()


def test_status_of_a_run_that_goes_on(tmp_path: Path) -> None:
    began = time.time()
    with open_run(tmp_path) as journal:
        told(journal, tmp_path)
        facts = status_of(tmp_path, BlocksOnDisk())
    assert facts["state"] == "running"
    assert facts["owner"]["pid"] > 0
    assert 0 <= facts["owner"]["heartbeat_age_s"] <= time.time() - began + 1
    assert facts["inputs"] == {
        **{"total": 4, "complete": 1, "partial": 0, "running": 1, "waiting": 0},
        **{"refused": 1, "failed": 1},
    }
    assert facts["blocks"] == {"total": 10, "done": 5}
    assert [one["input"] for one in facts["failures"]] == ["d.tif", "c.tif"]
    did = {w["name"]: (w["ended"], w["blocks"], w["lost"]) for w in facts["workers"]}
    assert did == {"w1": (1, 1, None), "w2": (1, 0, "killed"), "w3": (0, 2, None)}
    lines = status_lines(facts)
    assert "inputs   4: 1 complete, 1 running, 1 refused, 1 failed" in lines
    assert any(line.startswith("  w1: 1 input, 1 block, last told") for line in lines)
    assert any(re.match(r"  b\.tif: 3 of 8 blocks, \d+:\d\d.*try 2", line) for line in lines)
    assert "  refused: c.tif is empty" in lines


@pytest.mark.parametrize(
    "why", ["SIGINT received", "free some space and run the same command again"]
)
def test_nothing_runs_after_a_stop_and_nothing_is_promised(tmp_path: Path, why: str) -> None:
    with open_run(tmp_path) as journal:
        told(journal, tmp_path)
        journal.append("stopping", why=why)
        journal.append("ended", status=130, why=why)
    facts = status_of(tmp_path, BlocksOnDisk())
    assert facts["state"] == "stopped"
    assert (facts["inputs"]["running"], facts["inputs"]["waiting"]) == (0, 1)
    assert (facts["running"], facts["left_s"], facts["voxels_per_s"]) == ([], None, None)
    assert facts["blocks"] == {"total": 10, "done": 5}, "what is on disk is done"
    lines = status_lines(facts)
    assert [line for line in lines if line.startswith("state    stopped (" + why)] == lines[1:2]
    assert "\n".join(lines).count("same command again") == 1
    assert "left" not in "\n".join(lines)


def test_time_left_follows_from_this_coordinator_only() -> None:
    """100 s for 2 of 10 thousand voxels, whatever was done before it began."""
    events = [event("surveyed", k, 0, facts={"voxels": 1000}) for k in "abcdefghij"]
    events += [event("done", k, 1, outcome=outcome()) for k in "ab"]
    events += [begun(1000), *(event("done", k, 1050, outcome=outcome()) for k in "cd")]
    state = fold(events)
    assert _pace(state, state.totals(), {}, 1100.0) == {
        "seconds": 100.0,
        "inputs_per_hour": 72.0,
        "voxels_per_s": 20.0,
        "left_s": 300.0,
    }


def test_blocks_of_inputs_that_have_not_ended_count_for_the_pace() -> None:
    """Of 2 inputs of 8 blocks and 8 thousand voxels each: one was begun before with 4 blocks on disk and
    has 2 more since; the other, half of it found done, is complete."""
    facts = {"voxels": 8000, "blocks": 8}
    blocks = {"total": 8, "done": 8, "failed": 0, "resumed": 4}
    events = [begun(990), *(event("surveyed", k, 999, facts=facts) for k in "ab")]
    events += [event("started", k, 1000, attempt=1) for k in "ab"]
    events += [event("done", "b", 1050, outcome={**outcome(), "blocks": blocks})]
    state = fold(events)
    done = [BlockDone(at, at - 1, "w1") for at in (900, 901, 902, 903, 1060, 1070)]
    pace = _pace(state, state.totals(), {"a": done}, 1100.0)
    assert (pace["voxels_per_s"], pace["left_s"]) == (60.0, round(2000 / 60, 1))
    assert pace["seconds"] == 110
    assert _pace(state, state.totals(), {"a": [*done, *done]}, 1100.0)["left_s"] == 0.0


def test_the_states_of_a_run(tmp_path: Path) -> None:
    with open_run(tmp_path) as journal:
        journal.append("begun", **BEGUN)
        journal.append("stopping", why="06:30 has come")
        facts = status_of(tmp_path)
        assert (facts["state"], facts["why"]) == ("stopping", "06:30 has come")
    assert status_of(tmp_path)["state"] == "stopped"
    with open_run(tmp_path) as journal:
        journal.append("begun", **BEGUN)
        journal.append("ended", status=0, why="complete")
    assert status_of(tmp_path)["state"] == "ended"
    with open_run(tmp_path) as journal:
        journal.append("begun", **BEGUN)
        journal.append("ended", status=130, why="SIGTERM received")
    facts = status_of(tmp_path)
    assert (facts["state"], facts["why"]) == ("stopped", "SIGTERM received")


def test_which_run_is_meant(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"it has no {JOURNAL}"):
        run_folder(tmp_path)
    first, second = (tmp_path / ".segbatch" / name for name in ("one", "two"))
    first.mkdir(parents=True)
    (first / JOURNAL).touch()
    assert run_folder(tmp_path) == run_folder(first) == first
    second.mkdir()
    (second / JOURNAL).touch()
    with pytest.raises(InputError, match=r"has 2 runs: name one of .*one, .*two"):
        run_folder(tmp_path)


@pytest.mark.full
def test_the_command(tmp_path: Path) -> None:
    with acquire(tmp_path), open_run(tmp_path / "run") as journal:
        told(journal, tmp_path / "run")
        shown = segbatch("status", tmp_path / "run", "--json")
        assert shown.status == 0, shown.err
        assert shown.json["blocks"] == {"total": 10, "done": 5}
        assert "heard of" in segbatch("status", tmp_path / "run").out
    watched = segbatch("status", tmp_path / "run", "--watch")
    assert watched.out.count("state    stopped: run the same command again to resume") == 1
    assert segbatch("status", tmp_path).status == 2


@pytest.mark.full
def test_a_run_is_named_by_its_workflow_too(tmp_path: Path) -> None:
    file = tmp_path / "night.yaml"
    file.write_text(f"name: night\ninputs: {tmp_path}/*.tif\noutputs: {tmp_path}/out\n")
    with open_run(tmp_path / "out" / ".segbatch" / "night") as journal:
        journal.append("begun", **BEGUN)
    shown = segbatch("status", file, "--json")
    assert shown.json["state"] == "stopped", shown.err


@pytest.mark.full
def test_a_dead_coordinator_is_told(tmp_path: Path) -> None:
    with Holder() as holder:
        assert holder.ask("die", tmp_path) == "ok"
        facts = status_of(tmp_path)
        assert (facts["state"], facts["owner"]["stale"]) == ("dead", "its process is gone")
        with (tmp_path / JOURNAL).open("a") as journal:  # it could not let go: its disk was full
            journal.write('{"t": 1, "event": "ended", "status": 0, "why": ""}\n')
        assert status_of(tmp_path)["state"] == "ended"
