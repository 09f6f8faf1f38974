"""An existing Dask cluster by address: real scheduler, real workers, processes of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from tests.support.executors.clusters import of_another_version, scheduler, worker
from tests.support.files import address_raster, segbatch, write_raster
from tests.support.patience import PATIENCE_S, Gate, until

pytestmark = pytest.mark.full


def test_an_existing_cluster_does_the_work(scene: Path, tmp_path: Path, run: Any) -> None:
    out = tmp_path / "out.tif"
    with scheduler(tmp_path) as address, worker(address):
        ran = run("predict", scene, "-o", out, "--model", "probe", "--cluster", address, "--json")
    assert ran.status == 0, ran.err
    assert ran.json["executor"] == address
    with rasterio.open(scene) as before, rasterio.open(out) as after:
        assert np.array_equal(after.read(1), before.read(1) % 8)


def test_workers_of_another_version_are_refused(scene: Path, tmp_path: Path, run: Any) -> None:
    out = tmp_path / "out.tif"
    with scheduler(tmp_path) as address, worker(address, **of_another_version(tmp_path)):
        ran = run("predict", scene, "-o", out, "--model", "probe", "--cluster", address)
    assert ran.status == 2
    assert "9.9.9" in ran.err
    assert ran.err.count("\n") == 1
    assert not list(tmp_path.glob("out*"))


@pytest.mark.slow
def test_a_cluster_that_loses_all_workers_ends_the_run(tmp_path: Path) -> None:
    """In one line, with a minute's patience; what is done stays on disk."""
    values = address_raster((9000, 9000), 1, "uint8")
    scene, out = write_raster(tmp_path / "large.tif", values), tmp_path / "out.tif"
    arguments = ["predict", str(scene), "-o", str(out), "--model", "probe", "--block", "1024,1024"]
    gate = Gate(tmp_path, f"{out}.work.zarr/done/*.*.json", after=1)
    with scheduler(tmp_path) as address:
        with worker(address, **gate.environment) as lost:
            command = [sys.executable, "-m", "seg_batch", *arguments, "--cluster", address]
            process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
            gate.wait(process)
            until(lambda: list(Path(f"{out}.work.zarr").glob("done/*.*.json")), process=process)
            lost.kill()
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert "workers are gone" in err
    assert segbatch(*arguments).status == 0


def test_a_scheduler_without_workers_is_refused(scene: Path, tmp_path: Path, run: Any) -> None:
    with scheduler(tmp_path) as address:
        ran = run(
            "predict", scene, "-o", tmp_path / "o.tif", "--model", "probe", "--cluster", address
        )
    assert ran.status == 2
    assert "no workers" in ran.err


@pytest.mark.full
def test_workers_import_nothing_from_the_current_folder(tmp_path: Path) -> None:
    """The installed command, for ``python -m`` takes the current folder in by itself."""
    scene = write_raster(tmp_path / "scene.tif", address_raster((64, 64), 1, "uint8"))
    (tmp_path / "pickle.py").write_text("open('imported', 'w').close()")
    command = [str(Path(sys.executable).parent / "segbatch"), "predict", str(scene)]
    command += ["--model", "probe", "--cluster", "local", "-q"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "imported").exists()
