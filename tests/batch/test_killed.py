"""Nights as commands on real clusters of processes, of which some are killed in the middle."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from seg_batch.batch.journal import Journal
from tests.support.files import address_raster, products, segbatch, write_raster
from tests.support.patience import PATIENCE_S, Gate, until

pytestmark = pytest.mark.full

AT_WORK = 4  # tasks that the pool of two workers does at once
IN_FLIGHT = 6  # those that it has, or will have next
BEGINS_A_SMALL_ONE = "*.try-*-*-*.work.zarr"  # its store is moved into place


@pytest.fixture
def workflow(scenes: Path, tmp_path: Path) -> Path:
    path = tmp_path / "night.yaml"
    path.write_text(
        f"inputs: {scenes}/[sl]*.tif\nmodel: probe\noutputs: {tmp_path / 'out'}\n"
        "options: {block: [1024, 1024]}\ncluster: local\nworkers: 2\n"
    )
    return path


def run_folder(workflow: Path) -> Path:
    return workflow.parent / "out" / ".segbatch" / "night"


def events(workflow: Path) -> list[dict[str, Any]]:
    return Journal.read(run_folder(workflow) / "journal.jsonl")


def started(workflow: Path, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "seg_batch", "run", str(workflow), "--json"]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a group of its own, to which signals are sent as by a terminal
        env={**os.environ, **environment},
    )


@contextmanager
def standing(workflow: Path, after: int = 1) -> Iterator[tuple[subprocess.Popen[str], Gate]]:
    """A night of which a worker stands still before it begins a small input; each process has begun
    ``after`` of them before, at most."""
    gate = Gate(workflow.parent, BEGINS_A_SMALL_ONE, after=after)
    process = started(workflow, **gate.environment)
    try:
        gate.wait(process)
        yield process, gate
    finally:
        process.kill()
        gate.open()
        process.communicate()


def is_told(workflow: Path, kind: str, times: int = 1) -> bool:
    """Whether the journal tells of so many such events."""
    return sum(event["event"] == kind for event in events(workflow)) >= times


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out, err


def workers_of(pid: int) -> list[int]:
    """The processes of a local cluster that do the work: spawned by their nannies' process."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if entry.name.isdigit() and int(fields[1]) == pid and b"spawn_main" in command:
            found.append(int(entry.name))
    return found


def test_a_local_cluster_makes_the_same_products(
    workflow: Path, tmp_path: Path, alone: dict[str, bytes]
) -> None:
    ran = segbatch("run", workflow, "--json")
    assert ran.status == 0, ran.err
    assert ran.json["complete"] == 7
    assert products(tmp_path / "out") == alone
    workers = {e["outcome"]["worker"] for e in events(workflow) if e["event"] == "done"}
    assert len(workers) == 3, "two processes, and the one that leads what is large"
    assert (run_folder(workflow) / "report.html").exists()


def test_a_killed_coordinator_loses_only_what_was_in_hand(
    workflow: Path, tmp_path: Path, alone: dict[str, bytes]
) -> None:
    with standing(workflow) as (process, _):
        until(lambda: is_told(workflow, "done"), "an end", process)
        process.kill()
        ended(process)
    done = {e["input"] for e in events(workflow) if e["event"] == "done"}
    again = segbatch("run", workflow, "--json")
    assert again.status == 0, again.err
    assert products(tmp_path / "out") == alone
    assert again.json["resumed"] == len(done)
    begun = Counter(e["input"] for e in events(workflow) if e["event"] == "started")
    assert all(begun[key] == 1 for key in done)
    assert sum(n - 1 for n in begun.values()) <= IN_FLIGHT + 2
    assert any(e["event"] == "taken_over" for e in events(workflow))
    assert not list((tmp_path / "out").glob("*.work.zarr"))
    assert not list((tmp_path / "out").glob("*.staged"))


def test_a_killed_worker_costs_nothing(
    workflow: Path, tmp_path: Path, alone: dict[str, bytes]
) -> None:
    with standing(workflow) as (process, gate):
        victim = gate.standing()[0]
        assert victim in workers_of(process.pid)
        os.kill(victim, signal.SIGKILL)
        gate.open()
        status, out, err = ended(process)
    assert status == 0, err
    assert json.loads(out)["complete"] == 7
    assert products(tmp_path / "out") == alone
    name = f"{socket.gethostname()}:{victim}"
    (lost,) = (e for e in events(workflow) if e["event"] == "worker_lost")
    assert lost["worker"] == name
    assert "its process ended" in lost["why"]
    log = (run_folder(workflow) / "log.jsonl").read_text().splitlines()
    (line,) = (told for told in map(json.loads, log) if told["event"] == "worker lost")
    assert (line["worker"], line["text"]) == (name, lost["why"])
    report = json.loads((run_folder(workflow) / "report.json").read_text())
    (lane,) = (one for one in report["workers"] if one["worker"] == name)
    assert lane["gone"] == {"t": lost["t"], "why": lost["why"]}
    assert "its process ended" in (run_folder(workflow) / "report.html").read_text()


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_one_signal_finishes_what_is_in_hand(
    workflow: Path, tmp_path: Path, alone: dict[str, bytes], number: signal.Signals
) -> None:
    with standing(workflow) as (process, gate):
        os.killpg(process.pid, number)
        until(lambda: is_told(workflow, "stopping"), "the stop", process)
        gate.open()
        status, out, err = ended(process)
    told = json.loads(out)
    assert status == (130 if told["left"] else 0), err
    found = events(workflow)
    (at,) = (n for n, e in enumerate(found) if e["event"] == "stopping")
    assert found[at]["why"] == f"{number.name} received"
    late = [e for e in found[at:] if e["event"] == "started"]
    assert len(late) <= 2, "one small and one large that were about to be begun"
    begun = {e["input"] for e in found if e["event"] == "started"}
    small = {key for key in begun if "small" in key}
    assert small <= inputs_of("done", found) | inputs_of("withdrawn", found), "none was broken off"
    assert segbatch("run", workflow, "--json").status == 0
    assert products(tmp_path / "out") == alone


def inputs_of(kind: str, found: list[dict[str, Any]]) -> set[str]:
    return {e["input"] for e in found if e["event"] == kind}


STANDS_UNTIL_TAKEN_BACK = """
import os, sys, time
from pathlib import Path

gate = Path(os.environ["AT_WORK"])


def watch(name, arguments):
    if name == "os.mkdir" and ".try-" in str(arguments[0]):
        Path(gate, str(arguments[0]).replace("/", "_")).touch()
        while not sys.modules["seg_batch.executors.task"]._cancelled and gate.exists():
            time.sleep(0.01)


sys.addaudithook(watch)
"""


def test_one_signal_begins_nothing_that_was_only_handed_out(tmp_path: Path) -> None:
    """Small inputs that wait in the cluster are taken back: the journal says so, and no file of theirs
    was ever made. Those at work are held there until their worker has heard that."""
    (tmp_path / "in").mkdir()
    first = write_raster(tmp_path / "in" / "00.tif", address_raster((300, 300), 1, "uint8"))
    for n in range(1, 14):
        os.link(first, first.with_name(f"{n:02}.tif"))
    workflow = tmp_path / "night.yaml"
    workflow.write_text("inputs: in\nmodel: probe\noutputs: out\ncluster: local\nworkers: 2\n")
    (code, at_work) = (tmp_path / "code", tmp_path / "at work")
    code.mkdir()
    at_work.mkdir()
    (code / "sitecustomize.py").write_text(STANDS_UNTIL_TAKEN_BACK)
    with started(workflow, PYTHONPATH=str(code), AT_WORK=str(at_work)) as process:
        try:
            until(lambda: is_told(workflow, "started", IN_FLIGHT), "so many begun", process)
            until(lambda: len(list(at_work.iterdir())) == AT_WORK, "so many at work", process)
            process.send_signal(signal.SIGTERM)
            status, out, err = ended(process)
        finally:
            process.kill()
    found, told = events(workflow), json.loads(out)
    assert (status, told["left"] > 0) == (130, True), err
    begun, done, back = (inputs_of(kind, found) for kind in ("started", "done", "withdrawn"))
    assert begun == done | back
    assert (len(done), len(back)) == (AT_WORK, IN_FLIGHT - AT_WORK)
    assert not done & back
    made = {path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith(".")}
    assert {name[:2] for name in made} == {Path(key).stem for key in done}
    assert segbatch("status", tmp_path / "out", "--json").json["inputs"]["waiting"] == told["left"]
    report = json.loads((run_folder(workflow) / "report.json").read_text())
    assert report["statuses"]["unfinished"] == 0


@pytest.mark.slow
def test_two_signals_end_it_at_once(
    workflow: Path, tmp_path: Path, alone: dict[str, bytes]
) -> None:
    with standing(workflow) as (process, _):
        os.killpg(process.pid, signal.SIGINT)
        os.killpg(process.pid, signal.SIGTERM)
        status, _, err = ended(process)
    assert status == 130, err
    again = segbatch("run", workflow, "--json")
    assert again.status == 0, again.err
    assert products(tmp_path / "out") == alone


def test_a_dry_run_writes_nothing(workflow: Path, tmp_path: Path) -> None:
    (tmp_path / "missing.txt").write_text(f"{tmp_path}/none.tif\n")
    ran = segbatch("run", workflow, "--dry-run", "--json")
    assert ran.status == 0, ran.err
    assert ran.json["totals"]["blocks"] == 5 + 2 * 6
    assert not (tmp_path / "out").exists()
    shown = segbatch(
        "run", workflow, "--dry-run", "--set", f"inputs={{list: {tmp_path}/missing.txt}}"
    )
    assert shown.status == 3
    assert "none.tif" in shown.out
