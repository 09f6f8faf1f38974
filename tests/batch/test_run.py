"""What follows a night, also one that can't begin: the report and the commands tell of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from seg_batch.batch.journal import open_run
from seg_batch.batch.report import write
from seg_batch.batch.run import run_unattended
from seg_batch.config.workflow import Workflow
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import BusyError, SegbatchError, StoreError

TELL = "import os, sys; print(os.environ['SEGBATCH_STATUS'], file=open(sys.argv[1], 'a'))"


@pytest.fixture
def made(night: Callable[..., Workflow], scenes: Path, tmp_path: Path) -> Callable[..., Workflow]:
    """A workflow over one scene in a list, whose command writes the status down."""
    (tmp_path / "list.txt").write_text(str(scenes / "small0.tif"))
    command = (sys.executable, "-c", TELL, str(tmp_path / "told"))
    inputs = {"list": str(tmp_path / "list.txt")}
    return lambda **changes: night(**{"inputs": inputs, "on_finish": (command,), **changes})


def ran(workflow: Workflow) -> int:
    try:
        status = run_unattended(workflow, Callback(), print, write)["status"]
    except SegbatchError as error:
        status = error.status
    return int(status)


def told(tmp_path: Path) -> list[str]:
    path = tmp_path / "told"
    return path.read_text().split() if path.exists() else []


def is_complete(workflow: Workflow) -> bool:
    run = Path(workflow.run_folder)
    (line,) = (
        line
        for line in (run / "metrics.prom").read_text().splitlines()
        if line.startswith("segbatch_run_complete")
    )
    complete = float(line.split()[-1]) == 1
    assert (json.loads((run / "report.json").read_text())["verdict"] == "complete") == complete
    return complete


@pytest.mark.full
def test_a_night_that_can_not_begin_is_told_of_and_is_not_complete(
    made: Callable[..., Workflow], tmp_path: Path
) -> None:
    listed = (tmp_path / "list.txt").read_text()
    assert ran(made()) == 0
    assert is_complete(made())
    (tmp_path / "list.txt").unlink()  # as where a mount is gone
    assert ran(made()) == 2
    assert not is_complete(made())
    (tmp_path / "list.txt").write_text(listed)
    assert ran(made()) == 0
    assert is_complete(made())
    journal = Path(made().run_folder) / "journal.jsonl"
    journal.write_text("damaged\n" + journal.read_text())
    assert ran(made()) == 1
    assert not journal.with_name("metrics.prom").exists(), "nothing is known, nothing is told"
    assert told(tmp_path) == ["0", "2", "0", "1"]


def test_a_folder_of_another_run_is_left_alone(
    made: Callable[..., Workflow], tmp_path: Path
) -> None:
    run = Path(made().run_folder)
    with open_run(run):
        (run / "report.html").write_text("another's")
        with pytest.raises(BusyError):
            run_unattended(made(), Callback(), print, write)
    (run / "journal.jsonl").write_text('{"t":1,"event":"stopping","input":null,"why":""}\n')
    with pytest.raises(StoreError, match="another workflow"):
        run_unattended(made(), Callback(), print, write)
    assert (run / "report.html").read_text() == "another's"
    assert told(tmp_path) == []


def test_a_first_night_that_can_not_begin_leaves_no_folder(
    made: Callable[..., Workflow], tmp_path: Path
) -> None:
    workflow = made(model="no-such")
    assert ran(workflow) == 2
    assert not Path(workflow.outputs.folder).exists()
    assert told(tmp_path) == ["2"]
