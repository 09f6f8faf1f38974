"""Workers that are jobs of a real SLURM: submitted through dask-jobqueue, lost, replaced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.hosts.runs import BLOCKS, Reference, Running, products
from tests.slurm.control import Slurm

pytestmark = pytest.mark.slurm

SHIPPED = Path(__file__).resolve().parents[2] / "workflows" / "clusters" / "slurm.yaml"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def spec(folder: Path, **size: Any) -> Path:
    """The cluster file that ships with the project, with what this machine has; ``size``:
    ``workers`` or ``adapt``."""
    told = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    told["arguments"] |= {
        "queue": "night",
        "cores": 1,
        "memory": "2GiB",
        "walltime": "00:10:00",
        "interface": "lo",
        "log_directory": str(folder),
        "local_directory": str(folder),
    }
    del told["adapt"]
    path = folder / "slurm.yaml"
    path.write_text(yaml.safe_dump({**told, "lifetime": "9m", **size}))
    return path


def test_a_night_loses_a_job_and_finishes(
    reference: Reference, slurm: Slurm, tmp_path: Path, out: Path
) -> None:
    words = reference.run(out, spec(tmp_path, workers=3))
    with Running(words, out, slurm.environment) as running:
        running.wait_for_blocks(4, processes=2)
        jobs = slurm.jobs("running")
        assert len(jobs) == 3
        slurm.cancel(jobs[0])
        assert running.is_working()
        status, printed, err = running.end()
    assert status == 0, err
    assert json.loads(printed)["complete"] == len(reference.products)
    assert products(out) == reference.products
    slurm.wait_until_empty()  # nothing is left in the queue


def test_a_killed_coordinator_leaves_no_job_and_its_night_is_resumed(
    reference: Reference, slurm: Slurm, tmp_path: Path, out: Path
) -> None:
    words = reference.run(out, spec(tmp_path, workers=2))
    with Running(words, out, slurm.environment) as running:
        running.wait_for_blocks(4)
        running.kill()
    before = len(running.receipts())
    assert 4 <= before < BLOCKS
    slurm.wait_until_empty()  # workers without a scheduler end by themselves
    with Running(words, out, slurm.environment) as again:
        status, _, err = again.end()
    assert status == 0, err
    report = json.loads((out / "large_labels.tif.json").read_text(encoding="utf-8"))
    assert report["blocks"]["resumed"] >= before
    assert products(out) == reference.products


def test_jobs_that_are_all_cancelled_are_replaced(
    reference: Reference, slurm: Slurm, tmp_path: Path, out: Path
) -> None:
    words = reference.predict(out, spec(tmp_path, adapt={"minimum": 2, "maximum": 3}))
    with Running(words, out, slurm.environment) as running:
        running.wait_for_blocks(4)
        lost = slurm.jobs("running")
        slurm.cancel(*lost)
        assert running.is_working()
        status, _, err = running.end()
    assert status == 0, err
    name = "large_labels.tif"
    assert products(out) == {name: reference.products[name]}
