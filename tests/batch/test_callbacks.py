"""What is told of a night as it goes: on the terminal, in the log, in the journal."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask
import pytest
from distributed import LocalCluster
from rasterio.transform import Affine
from rich.console import Console

from seg_batch.batch.dry_run import plan_lines, plan_run
from seg_batch.batch.job import job_of
from seg_batch.batch.journal import Journal
from seg_batch.batch.journal.status import status_of
from seg_batch.batch.run import run_unattended
from seg_batch.batch.runner import run_job
from seg_batch.batch.shutdown import Shutdown
from seg_batch.batch.summaries import BlocksOnDisk
from seg_batch.cli.display.run_table import RunTable
from seg_batch.cli.status import status_lines
from seg_batch.config.workflow import Workflow
from seg_batch.core import events
from seg_batch.core.callbacks import Callback, Callbacks
from seg_batch.core.errors import ClusterError, OutputError
from tests.support.batch.nights import run_night
from tests.support.files import address_raster, write_raster

Made = Callable[..., Workflow]
FLAT = Affine(
    1, 0, 0, 0, -2, 0
)  # pixels that lie nowhere, and no identity: GDAL would warn of that


@pytest.mark.full
def test_warnings_of_inputs_and_who_refused_one(night: Made, tmp_path: Path) -> None:
    """By a worker that is not the coordinator."""
    folder, out = tmp_path / "in", io.StringIO()
    folder.mkdir()
    nowhere = folder / "nowhere.tif"
    write_raster(nowhere, address_raster((300, 333), 1, "uint8"), crs=None, transform=FLAT)
    (folder / "cut.tif").write_bytes(nowhere.read_bytes()[:60])
    workflow = night(inputs=str(folder), cluster="local", workers=1)
    with RunTable(console=Console(file=out, highlight=False, markup=False)) as table:
        told = run_unattended(workflow, table, table.say, lambda folder: None)
    assert (told["complete"], told["refused"]) == (1, 1)
    log = (Path(workflow.run_folder) / "log.jsonl").read_text().splitlines()
    lines = [json.loads(line) for line in log]
    (warned,) = [line for line in lines if line["event"] == "input"]
    assert warned["input"] == str(nowhere)
    assert f"segbatch: warning: {nowhere}: {warned['text']}" in out.getvalue().splitlines()
    workers = {
        event["event"]: event.get("worker") or event["outcome"]["worker"]
        for event in Journal.read(Path(workflow.run_folder) / "journal.jsonl")
        if event["event"] in ("refused", "done")
    }
    assert workers["refused"] == workers["done"]
    assert not workers["refused"].endswith(f":{os.getpid()}")
    assert [line["worker"] for line in lines if line["event"] == "refused"] == [workers["done"]]


class Heard(Callback):
    """Blocks done before and now; asks to stop when the second one has ended."""

    def __init__(self, stop: Shutdown) -> None:
        self.stop, self.before, self.now = stop, 0, 0

    def on(self, event: events.Event) -> None:
        match event:
            case events.InputResumed(blocks=blocks):
                self.before += blocks
            case events.BlockEnded():
                self.now += 1
                if self.now == 2:
                    self.stop.ask("enough")


@pytest.mark.full
def test_blocks_that_are_on_disk_are_told_of_once(night: Made, scenes: Path) -> None:
    workflow = night(inputs=str(scenes / "large0.tif"))
    heard: list[Heard] = []
    told: dict[str, Any] = {"left": 1}
    while told["left"]:
        heard.append(Heard(Shutdown()))
        table = RunTable(quiet=True)
        told = run_night(workflow, Callbacks(heard[-1], table), stop=heard[-1].stop)
        assert len(heard) < 6
    assert len(heard) > 1
    done = 0
    for one in heard:
        assert one.before == done
        done += one.now
    assert done == 6


@pytest.mark.full
@pytest.mark.parametrize("error", [KeyboardInterrupt, ClusterError("no worker came")])
def test_a_night_that_broke_off_leaves_no_report_of_an_earlier_stand(
    night: Made, scenes: Path, error: Any
) -> None:
    workflow = night(inputs=str(scenes / "small0.tif"))
    run_night(workflow)
    (Path(workflow.run_folder) / "metrics.prom").write_text("complete")
    Path(workflow.outputs.folder, "small0_labels.tif").unlink()

    def opened(pool: object) -> None:
        raise error

    with pytest.raises((KeyboardInterrupt, ClusterError)):
        run_night(workflow, opened=opened)
    assert not (Path(workflow.run_folder) / "metrics.prom").exists()
    journal = Journal.read(Path(workflow.run_folder) / "journal.jsonl")
    assert journal[-1]["event"] == "ended"


class Late(Callback):
    """Somebody who asks to stop when the night has told that it is over."""

    def __init__(self, stop: Shutdown) -> None:
        self.stop, self.heard = stop, list[str]()

    def on(self, event: events.Event) -> None:
        match event:
            case events.Stopping(why):
                self.heard.append(why)
            case events.RunEnded():
                self.stop.ask("too late")


def test_a_signal_after_the_end_is_no_event_of_the_night(night: Made, scenes: Path) -> None:
    workflow, late = night(inputs=str(scenes / "bad.tif")), Late(Shutdown())
    assert run_night(workflow, late, stop=late.stop)["status"] == 3
    assert late.heard == ["too late"]
    last = Journal.read(Path(workflow.run_folder) / "journal.jsonl")[-1]
    assert (last["event"], last["status"]) == ("ended", 3)


@pytest.mark.full
def test_workers_with_too_little_memory_are_refused_before_anything_is_begun(
    night: Made, scenes: Path
) -> None:
    """Such as have less than the largest input may take, where somebody said how much it may."""
    kept_awake = {f"distributed.worker.memory.{k}": False for k in ("target", "spill", "pause")}
    with (
        dask.config.set(kept_awake),
        LocalCluster(
            n_workers=1,
            processes=False,
            protocol="tcp",
            memory_limit="64MiB",
            dashboard_address=":0",
        ) as cluster,
    ):
        workflow = night(
            inputs=str(scenes / "small0.tif"),
            cluster=cluster.scheduler_address,
            limits={"memory": "4GiB"},
        )
        with pytest.raises(ClusterError, match=r"has 64\.0 MiB of memory free"):
            run_night(workflow)
    told = [event["event"] for event in Journal.read(Path(workflow.run_folder) / "journal.jsonl")]
    assert (told[-1], "started" in told) == ("ended", False)


@pytest.mark.full
def test_a_night_with_nothing_left_to_do_asks_for_no_workers(night: Made, scenes: Path) -> None:
    one = {"paths": [str(scenes / "small0.tif"), "no such.tif"]}
    assert run_night(night(inputs=one))["complete"] == 1
    workflow = night(inputs=one)
    job = replace(job_of(workflow), cluster="nowhere.yaml")
    told = run_job(job, Callback(), say=print, opened=print)
    assert (told["status"], told["resumed"], told["complete"], told["refused"]) == (3, 1, 1, 1)
    Path(str(job.requests[str(scenes / "small0.tif")].output)).unlink()
    with pytest.raises(ClusterError):
        run_job(job, Callback(), say=print, opened=print)


def test_an_output_folder_that_can_not_be_made_is_told_in_one_line(
    night: Made, scenes: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    workflow = night(inputs=str(scenes), outputs=str(tmp_path / "file" / "out"))
    with pytest.raises(OutputError, match="can't write"):
        run_unattended(workflow, Callback(), print, print)


def test_no_name_of_a_file_reaches_the_terminal_unseen(night: Made, tmp_path: Path) -> None:
    """It could move the cursor, set the title, or forge a line."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "\x1b]0;evil\x07\nrefused  other.tif: \u202e.tif").write_text("no image")
    (folder / os.fsdecode(b"\xff.tif")).write_text("no image")
    workflow = night(inputs=str(folder))
    plan = plan_run(workflow)
    facts = {"tiles": 1, "blocks": 1, "seconds_estimate": 1, "disk_bytes": 1, "promised_bytes": 1}
    lines = plan_lines({**plan, "inputs": dict.fromkeys(plan["refused"], facts)})
    run_night(workflow)
    lines += status_lines(status_of(Path(workflow.run_folder), BlocksOnDisk()))
    assert sum("evil" in line for line in lines) == 3
    assert [line for line in lines if not line.isprintable()] == []
