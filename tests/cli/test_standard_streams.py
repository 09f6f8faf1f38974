"""Closed streams, pipes that nobody reads and full disks behind them: the work is done, its status is right."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.files import address_raster, write_raster
from tests.support.patience import PATIENCE_S

PREDICT = "predict a.tif -o out.tif --model probe"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_raster(tmp_path / "a.tif", address_raster((60, 50), 1, "uint8"))
    return tmp_path


def shell(folder: Path, command: str, redirected: str = "") -> subprocess.CompletedProcess[str]:
    """``command`` of segbatch with streams as ``redirected`` says."""
    line = f"{sys.executable} -m seg_batch {command} {redirected}"
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


@pytest.mark.parametrize(
    "streams",
    [
        "0<&- 1>&- 2>&-",
        *(
            pytest.param(s, marks=pytest.mark.full)
            for s in ("2>&-", ">&-", "2>/dev/full", "| head -0")
        ),
    ],
)
def test_the_work_is_done_without_streams(folder: Path, streams: str) -> None:
    done = shell(folder, PREDICT, streams)
    assert done.returncode == 0, done.stderr
    assert (folder / "out.tif").is_file()
    assert (folder / "out.tif.json").is_file()


@pytest.mark.full
def test_every_input_is_done_though_nobody_reads(folder: Path) -> None:
    (folder / "b.tif").write_bytes((folder / "a.tif").read_bytes())
    done = shell(folder, "predict a.tif b.tif -o maps/ --model probe", "| head -0")
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.name for path in (folder / "maps").glob("*.json")} == {
        "a_labels.tif.json",
        "b_labels.tif.json",
    }


@pytest.mark.full
def test_lines_that_are_lost_on_a_full_disk_are_a_fault(folder: Path) -> None:
    done = shell(folder, "inspect a.tif --json", ">/dev/full")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "No space left" in done.stderr


@pytest.mark.full
@pytest.mark.parametrize("streams", ["2>&-", "2>&1 | head -0"])
def test_a_refusal_keeps_its_status(folder: Path, streams: str) -> None:
    assert shell(folder, "inspect nothing.tif", streams).returncode == 2


@pytest.mark.full
def test_a_run_with_workers_needs_no_streams(folder: Path) -> None:
    text = "inputs: {paths: [a.tif]}\nmodel: probe\noutputs: out\nworkers: 2\ncluster: local\n"
    (folder / "w.yaml").write_text(text)
    done = shell(folder, "run w.yaml", "0<&- 1>&- 2>&-")
    assert done.returncode == 0
    assert (folder / "out" / "a_labels.tif.json").is_file()
