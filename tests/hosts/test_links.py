"""Scheduler, workers and coordinator on hosts of their own; links cut in the middle of a run.

The hosts share their disks (they are namespaces of one machine), and nothing else.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.farm import NOTICED_S, WORKERS, Farm, farm
from tests.hosts.runs import BLOCKS, Reference, Running, command, sha256

pytestmark = pytest.mark.hosts

CUT_S = NOTICED_S + 4  # longer than it takes both ends to notice


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.tif"


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Farm]:
    with farm(tmp_path) as started:
        yield started


def started(reference: Reference, there: Farm, out: Path) -> Running:
    """The run, from the coordinator's host."""
    words = command(*reference.arguments(out, "--cluster", there.address))
    return Running(there.hosts.on("coordinator", *words), out, there.environment)


def test_a_link_cut_and_restored_changes_no_byte(
    reference: Reference, plain: Farm, out: Path
) -> None:
    with started(reference, plain, out) as running:
        running.wait_for_blocks(4, hosts=2)
        plain.hosts.cut("worker1")
        time.sleep(CUT_S)
        plain.hosts.restore("worker1")
        status, printed, err = running.end()
    assert status == 0, err
    assert json.loads(printed)["status"] == "complete"
    assert sha256(out) == reference.sha256


def test_all_workers_cut_off_come_back(reference: Reference, plain: Farm, out: Path) -> None:
    """Within the minute of patience the run goes on by itself."""
    with started(reference, plain, out) as running:
        running.wait_for_blocks(4, hosts=2)
        plain.hosts.cut(*WORKERS)
        time.sleep(CUT_S)
        assert running.is_working()
        plain.hosts.restore(*WORKERS)
        status, _, err = running.end()
    assert status == 0, err
    assert sha256(out) == reference.sha256


def test_a_lost_scheduler_is_told_of_and_the_same_command_completes(
    reference: Reference, plain: Farm, out: Path
) -> None:
    with started(reference, plain, out) as running:
        running.wait_for_blocks(4)
        plain.hosts.cut("scheduler")
        status, _, err = running.end()
    assert status == 2
    assert "resume" in err
    assert err.count("\n") == 1, "one line, no traceback"
    assert not out.exists()
    assert 4 <= len(running.receipts()) < BLOCKS
    plain.hosts.restore("scheduler")
    with started(reference, plain, out) as again:
        status, printed, err = again.end()
    assert status == 0, err
    assert json.loads(printed)["blocks"]["resumed"] >= 4
    assert sha256(out) == reference.sha256
