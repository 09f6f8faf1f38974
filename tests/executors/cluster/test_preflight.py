"""What is asked of workers before they get work, and what becomes of those that do not fit."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import pytest

from seg_batch.core.errors import ClusterError, OutputError
from seg_batch.core.hardware import is_running
from seg_batch.executors import WorkerRequirements, open_pool, run_bounded
from seg_batch.executors.cluster.preflight import check_workers
from seg_batch.executors.cluster.requirements import (
    BASE,
    identity,
    mismatch,
    out_of_memory,
    required_versions,
    weights_sha256,
    worker_facts,
)
from seg_batch.executors.pool import InlinePool
from tests.support.executors.clusters import of_another_version, scheduler, worker
from tests.support.files import segbatch
from tests.support.patience import PATIENCE_S, until


class Elsewhere(InlinePool):
    """This process as a worker on another host, where ``there`` lies at the path of ``here``."""

    inline = False

    def __init__(self, here: Path, there: Path) -> None:
        super().__init__()
        self.here, self.there = str(here), str(there)

    def answers(self, function: Any, needs: WorkerRequirements) -> dict[str, Any]:
        def moved(path: str) -> str:
            return path.replace(self.here, self.there)

        seen = replace(
            needs,
            weights=tuple((moved(path), x) for path, x in needs.weights),
            identities=tuple((moved(path), x) for path, x in needs.identities),
            outputs=tuple(map(moved, needs.outputs)),
        )
        found = function(seen)
        for kind in ("weights", "inputs", "outputs"):
            found[kind] = {
                path.replace(self.there, self.here): x for path, x in found[kind].items()
            }
        return {"tcp://elsewhere:1": found}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "scene.tif").write_bytes(b"pixels" * 100)
    (folder / "model.xml").write_bytes(b"weights")
    (folder / "model.bin").write_bytes(b"numbers")
    return folder


def needs_of(here: Path, **more: Any) -> WorkerRequirements:
    weights = ((str(here / "model.xml"), weights_sha256(str(here / "model.xml"))),)
    return WorkerRequirements(
        weights=weights, inputs=(str(here / "scene.tif"),), outputs=(str(here),), **more
    )


def test_a_shared_folder_fits_and_nothing_is_left_in_it(here: Path) -> None:
    before = sorted(here.iterdir())
    settled, answers = check_workers(Elsewhere(here, here), needs_of(here))
    assert sorted(here.iterdir()) == before
    assert mismatch(answers["tcp://elsewhere:1"], settled) is None
    assert settled.probe == ""


def test_probes_of_a_killed_coordinator_go_with_those_of_the_next(here: Path) -> None:
    before = sorted(here.iterdir())
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host, mine = socket.gethostname(), []
    for pid, name in ((dead.pid, host), (os.getpid(), host), (dead.pid, "elsewhere")):
        mine.append(here / f".segbatch-probe-{pid}_{name}_0123-4567")
        mine[-1].touch()
    check_workers(Elsewhere(here, here), needs_of(here))
    assert sorted(here.iterdir()) == sorted([*before, *mine[1:]])


def other(here: Path, change: Any) -> Path:
    """A copy of the folder, as a host has it that does not share it."""
    there = here.parent / "there"
    there.mkdir()
    for path in here.iterdir():
        (there / path.name).write_bytes(path.read_bytes())
    change(there)
    return there


def nothing(there: Path) -> None: ...


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda there: (there / "scene.tif").unlink(), "does not see"),
        (lambda there: (there / "scene.tif").write_bytes(b"others" * 100), "sees another file"),
        (lambda there: (there / "scene.tif").write_bytes(b"pixels" * 99), "sees another file"),
        (lambda there: (there / "model.bin").write_bytes(b"numbres"), "has other weights"),
        (lambda there: (there / "model.xml").unlink(), "does not see"),
        (nothing, "does not see what is written to"),
    ],
)
def test_what_is_not_shared_is_refused(
    here: Path, change: Any, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seg_batch.executors.cluster.requirements.LATE_S", 0.2)
    pool = Elsewhere(here, other(here, change))
    with pytest.raises(ClusterError, match=told) as error:
        check_workers(pool, needs_of(here))
    assert "tcp://elsewhere:1" in error.value.message
    assert "\n" not in error.value.message
    assert not [*here.glob(".segbatch*")]


def test_a_worker_that_only_reads_is_told_from_one_that_writes_too(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files come from here to there and not back, as with a copy that is synchronised."""
    monkeypatch.setattr("seg_batch.executors.cluster.requirements.LATE_S", 0.2)
    there = other(here, nothing)

    class Synchronised(Elsewhere):
        def answers(self, function: Any, needs: WorkerRequirements) -> dict[str, Any]:
            for path in here.glob(".segbatch*"):
                (there / path.name).write_bytes(path.read_bytes())
            return super().answers(function, needs)

    with pytest.raises(ClusterError, match="another one here"):
        check_workers(Synchronised(here, there), needs_of(here))


def test_an_output_that_is_still_to_be_made(here: Path) -> None:
    needs = WorkerRequirements(outputs=(str(here / "new" / "deeper"),))
    settled, _ = check_workers(Elsewhere(here, here), needs)
    assert settled.outputs == (str(here),)
    assert not (here / "new").exists()


def test_an_output_that_can_not_be_written(here: Path) -> None:
    with pytest.raises(OutputError, match="can't be written"):
        check_workers(Elsewhere(here, here), WorkerRequirements(outputs=("/proc",)))


def test_versions_and_devices_that_differ() -> None:
    needs = WorkerRequirements(
        versions=required_versions(("segbatch", "python", "numpy", "nosuchlibrary")), device="CPU"
    )
    found = worker_facts(needs)
    assert mismatch(found, needs) is None
    old = {**found, "versions": {**found["versions"], "numpy": "1.0"}}
    assert "runs numpy 1.0, this is" in str(mismatch(old, needs))
    without = {**found, "versions": {**found["versions"], "numpy": "none"}}
    assert "has no numpy" in str(mismatch(without, needs))
    assert "GPU" in str(mismatch({**found, "device": "GPU"}, needs))


def test_memory_is_shared_by_the_workers_of_a_host() -> None:
    found = {"free_bytes": 8 << 30, "rss_bytes": 1 << 30}
    assert out_of_memory(9 << 30, found, 1, 0) is None
    assert out_of_memory(5 << 30, found, 2, 0) is None
    assert "8" in str(out_of_memory(6 << 30, found, 2, 0))
    assert "--memory" in str(out_of_memory(9 << 30, found, 1, 4 << 30))


def test_a_file_is_known_by_size_and_beginning(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert identity(str(path)) == "nothing"
    path.write_bytes(b"abc")
    first = identity(str(path))
    path.write_bytes(b"abd")
    assert identity(str(path)) != first
    assert identity(str(tmp_path)) == "a folder"


@pytest.mark.full
def test_another_version_and_a_blind_worker_are_refused(scene: Path, tmp_path: Path) -> None:
    """By name, in one line, with nothing left behind."""
    out = tmp_path / "out.tif"
    arguments = ("predict", scene, "-o", out, "--model", "probe", "--cluster")
    with scheduler(tmp_path) as address:
        with worker(address, **of_another_version(tmp_path)):
            ran = segbatch(*arguments, address)
        assert ran.status == 2
        assert "runs segbatch 9.9.9" in ran.err
        assert ran.err.count("\n") == 1
        assert not list(tmp_path.glob("out*"))
        with worker(address, "--memory-limit", "100MB"):
            ran = segbatch(*arguments, address)
        assert ran.status == 2
        assert "95.4 MiB of memory free and the plan needs" in ran.err
        assert not list(tmp_path.glob("out*"))
        with worker(address):
            checked = segbatch(
                "cluster", "check", address, "--path", scene, "-o", tmp_path, "--json"
            )
            assert checked.status == 0, checked.err
            (found,) = checked.json["workers"].values()
            assert found["versions"] == dict(required_versions((*BASE,)))
            assert found["inputs"] == {str(scene): identity(str(scene))}


def _slowly(folder: str, item: int) -> int:
    time.sleep(0.1)
    Path(folder, f"{item}-{os.getpid()}").touch()
    return os.getpid()


@pytest.mark.full
def test_a_late_worker_of_another_version_takes_itself_out(tmp_path: Path) -> None:
    """It comes in the middle of a run, never does a task, and its tasks are done elsewhere."""
    done = tmp_path / "done"
    done.mkdir()
    with (
        scheduler(tmp_path) as address,
        worker(address) as good,
        open_pool(address, 1, WorkerRequirements(outputs=(str(done),))) as pool,
    ):
        patience = time.monotonic() + PATIENCE_S
        until_it_is_out = takewhile(
            lambda n: not pool.dropped and time.monotonic() < patience, count()
        )
        results = run_bounded(pool, partial(_slowly, str(done)), until_it_is_out)
        first = next(results)
        with worker(address, **of_another_version(tmp_path)) as late:
            outcomes = [first, *results]
            late.wait(PATIENCE_S)
        assert not any(outcome.error for outcome in outcomes)
        assert {outcome.result for outcome in outcomes} == {good.pid}
        (why,) = pool.dropped.values()
        assert "9.9.9" in why
    assert len(list(done.iterdir())) == len(outcomes)


@pytest.mark.full
def test_retired_workers_stay_away_and_their_work_is_done(tmp_path: Path) -> None:
    with open_pool("local", 2, WorkerRequirements(outputs=(str(tmp_path),))) as pool:
        first, second = pool.workers_now()
        pids = pool.ask(os.getpid)
        results = run_bounded(pool, partial(_slowly, str(tmp_path)), range(40))
        next(results)
        pool.retire(first, "every block fails there")
        assert all(outcome.error is None for outcome in results)
        until(lambda: pool.workers_now() == (second,))
        assert pool.dropped == {first: "every block fails there"}
        assert pool.ask(os.getpid) == {second: pids[second]}
        assert pool.window == 3
        until(lambda: not is_running(pids[first]))


class PatientAsyncio:
    """``asyncio``, but that the time to answer begins when another one has answered."""

    def __init__(self) -> None:
        self.answered = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    async def wait_for(self, call: Any, limit_s: float) -> Any:
        task = asyncio.ensure_future(call)
        while not self.answered and not task.done():
            await asyncio.wait([task], timeout=0.05)
        answer = await asyncio.wait_for(task, 0.5)
        self.answered += 1
        return answer


@pytest.mark.full
def test_a_worker_that_hangs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        scheduler(tmp_path) as address,
        worker(address),
        worker(address) as stuck,
        open_pool(address, 1) as pool,
    ):
        until(lambda: len(pool.workers_now()) == 2)
        pids = {pid: name for name, pid in pool.ask(os.getpid).items()}
        monkeypatch.setattr("seg_batch.executors.dask_pool.asyncio", PatientAsyncio())
        stuck.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(ClusterError, match="does not answer") as error:
                check_workers(pool, WorkerRequirements())
        finally:
            stuck.send_signal(signal.SIGCONT)
        assert pids[stuck.pid] in error.value.message
