"""Workers that are jobs of a real SLURM: submitted through dask-jobqueue, lost, replaced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.hosts.runs import BLOCKS, Reference, Running, command, sha256
from tests.slurm.control import Slurm

pytestmark = pytest.mark.slurm

SHIPPED = Path(__file__).resolve().parents[2] / "workflows" / "clusters" / "slurm.yaml"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.tif"


def spec(folder: Path, **keys: Any) -> Path:
    """The cluster file that ships with the project, with what this machine has."""
    told = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    told["arguments"] |= {
        "queue": "night",
        "cores": 1,
        "processes": 1,
        "memory": "2GiB",
        "walltime": "00:10:00",
        "interface": "lo",
        "log_directory": str(folder),
        "local_directory": str(folder),
    }
    path = folder / "slurm.yaml"
    path.write_text(yaml.safe_dump({**told, **keys}))
    return path


def started(reference: Reference, slurm: Slurm, cluster: Path, out: Path) -> Running:
    words = command(*reference.arguments(out, "--cluster", str(cluster)))
    return Running(words, out, slurm.environment)


def test_a_run_loses_a_job_and_finishes(
    reference: Reference, slurm: Slurm, tmp_path: Path, out: Path
) -> None:
    with started(reference, slurm, spec(tmp_path, workers=3), out) as running:
        running.wait_for_blocks(6, processes=3)
        jobs = slurm.jobs("running")
        assert len(jobs) == 3
        slurm.cancel(jobs[0])
        assert running.is_working()
        status, printed, err = running.end()
    assert status == 0, err
    assert json.loads(printed)["status"] == "complete"
    assert sha256(out) == reference.sha256
    slurm.wait_for_jobs(0, "all")  # nothing is left in the queue


def test_a_killed_coordinator_leaves_no_job_and_is_resumed(
    reference: Reference, slurm: Slurm, tmp_path: Path, out: Path
) -> None:
    cluster = spec(tmp_path, workers=2)
    with started(reference, slurm, cluster, out) as running:
        running.wait_for_blocks(4)
        running.kill()
    assert 4 <= len(running.receipts()) < BLOCKS
    slurm.wait_for_jobs(0, "all")  # workers without a scheduler end by themselves
    with started(reference, slurm, cluster, out) as again:
        status, printed, err = again.end()
    assert status == 0, err
    assert json.loads(printed)["blocks"]["resumed"] >= 4
    assert sha256(out) == reference.sha256


def test_adaptive_jobs_that_are_all_cancelled_are_replaced(
    reference: Reference, slurm: Slurm, tmp_path: Path, out: Path
) -> None:
    cluster = spec(tmp_path, workers=None, adapt={"minimum": 2, "maximum": 2})
    with started(reference, slurm, cluster, out) as running:
        running.wait_for_blocks(4)
        lost = slurm.jobs("running")
        slurm.cancel(*lost)
        assert running.is_working()
        status, _, err = running.end()
    assert status == 0, err
    assert sha256(out) == reference.sha256
