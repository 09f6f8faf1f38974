"""``segbatch status``: what a folder tells about its run, from another terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from seg_batch.cli_status import status_lines
from seg_batch.errors import InputError
from seg_batch.journal import Journal, hold, open_run
from seg_batch.journal.events import NAME
from seg_batch.journal.status import run_folder, status_of
from tests.engine.files import segbatch
from tests.journal.made import BEGUN, Holder, outcome


def told(journal: Journal, folder: Path) -> None:
    """Four inputs: complete, running (3 of 8 blocks), set aside, failed."""
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
    for name in ("0.0.json", "0.1.json", "1.0.json", "steps.json", "lock"):
        (markers / name).touch()


def test_status_of_a_run_that_goes_on(tmp_path: Path) -> None:
    with open_run(tmp_path) as journal:
        told(journal, tmp_path)
        facts = status_of(tmp_path, lambda one: 3)
    assert facts["state"] == "running"
    assert facts["owner"]["pid"] > 0
    assert facts["owner"]["heartbeat_age_s"] < 5
    assert facts["inputs"] == {
        **{"total": 4, "complete": 1, "partial": 0, "running": 1, "waiting": 0},
        **{"refused": 1, "failed": 1},
    }
    assert facts["blocks"] == {"total": 10, "done": 5}
    assert [one["input"] for one in facts["failures"]] == ["d.tif", "c.tif"]
    lost = {worker["name"]: worker["lost"] for worker in facts["workers"]}
    assert lost == {"w1": None, "w2": "killed"}
    lines = status_lines(facts)
    assert "inputs   4: 1 complete, 1 running, 1 set aside, 1 failed" in lines
    assert any(line.startswith("  b.tif: 3 of 8 blocks, 0:0") and "try 2" in line for line in lines)
    assert "  set aside: c.tif is empty" in lines


def test_time_left_follows_from_this_coordinator_only() -> None:
    """100 s for 2 of 10 thousand voxels, whatever was done before it began."""
    from seg_batch.journal.state import fold
    from seg_batch.journal.status import _pace
    from tests.journal.made import begun, event

    events = [event("surveyed", k, 0, facts={"voxels": 1000}) for k in "abcdefghij"]
    events += [event("done", k, 1, outcome=outcome()) for k in "ab"]
    events += [begun(1000), *(event("done", k, 1050, outcome=outcome()) for k in "cd")]
    state = fold(events)
    pace = _pace(state, state.totals(), 1100.0)
    assert pace == {
        "seconds": 100.0,
        "inputs_per_hour": 72.0,
        "voxels_per_s": 20.0,
        "left_s": 300.0,
    }


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
    with pytest.raises(InputError, match=f"it has no {NAME}"):
        run_folder(tmp_path)
    first, second = (tmp_path / ".segbatch" / name for name in ("one", "two"))
    first.mkdir(parents=True)
    (first / NAME).touch()
    assert run_folder(tmp_path) == run_folder(first) == first
    second.mkdir()
    (second / NAME).touch()
    with pytest.raises(InputError, match=r"has 2 runs: name one of .*one, .*two"):
        run_folder(tmp_path)


@pytest.mark.full
def test_the_command(tmp_path: Path) -> None:
    with hold(tmp_path), open_run(tmp_path / "run") as journal:
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
