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
from tests.hosts.runs import BLOCKS, Reference, Running, products
from tests.support.files import segbatch

pytestmark = pytest.mark.hosts


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Farm]:
    with farm(tmp_path) as started:
        yield started


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Farm]:
    """Scheduler, workers and coordinator with certificates; their link carries nothing in clear."""
    assert segbatch("cluster", "certs", tmp_path / "certs").status == 0
    with farm(tmp_path, tmp_path / "certs") as started:
        yield started


def predicting(reference: Reference, there: Farm, out: Path) -> Running:
    """``predict`` of the large scene, from the coordinator's host."""
    return there.running(reference.predict(out, there.address), out)


def only_product(out: Path) -> tuple[str, str]:
    """Its name and sha256."""
    (product,) = products(out).items()
    return product


def cut_in_mid_run(running: Running, there: Farm, *hosts: str) -> None:
    """Once both workers have done blocks; restored when both ends of each link have noticed."""
    running.wait_for_blocks(4, hosts=2)
    there.hosts.cut(*hosts)
    assert running.is_working()
    there.gate.open()
    there.wait_for("Remove worker", len(hosts))
    time.sleep(NOTICED_S)
    there.hosts.restore(*hosts)


def test_a_link_cut_and_restored_changes_no_byte(
    reference: Reference, plain: Farm, out: Path
) -> None:
    with predicting(reference, plain, out) as running:
        cut_in_mid_run(running, plain, "worker1")
        status, _, err = running.end()
    assert status == 0, err
    assert only_product(out) in reference.products.items()


def test_a_night_goes_through_a_cut_link_with_certificates(
    reference: Reference, secured: Farm, out: Path
) -> None:
    with secured.running(reference.run(out, secured.address), out) as running:
        cut_in_mid_run(running, secured, "worker1")
        status, printed, err = running.end()
    assert status == 0, err
    assert json.loads(printed)["complete"] == len(reference.products)
    assert products(out) == reference.products


def test_a_host_that_is_gone_and_still_listed_holds_up_nobody(
    reference: Reference, plain: Farm, out: Path
) -> None:
    plain.hosts.cut("worker1")
    words = reference.predict(out, plain.address, "small0")
    with plain.running(words, out) as running:
        status, _, err = running.end()
    assert status == 0, err
    assert only_product(out) in reference.products.items()


def test_all_workers_cut_off_come_back(reference: Reference, plain: Farm, out: Path) -> None:
    """Within the minute of patience the run goes on by itself."""
    with predicting(reference, plain, out) as running:
        cut_in_mid_run(running, plain, *WORKERS)
        assert running.is_working()
        status, _, err = running.end()
    assert status == 0, err
    assert only_product(out) in reference.products.items()


def test_a_lost_scheduler_is_told_of_and_the_same_command_completes(
    reference: Reference, plain: Farm, out: Path
) -> None:
    with predicting(reference, plain, out) as running:
        running.wait_for_blocks(4)
        plain.hosts.cut("scheduler")
        plain.gate.open()
        status, _, err = running.end()
    assert status == 2
    assert "resume" in err
    assert err.count("\n") == 1, "one line, no traceback"
    assert not products(out)
    assert 4 <= len(running.receipts()) < BLOCKS
    plain.hosts.restore("scheduler")
    with predicting(reference, plain, out) as again:
        status, printed, err = again.end()
    assert status == 0, err
    assert json.loads(printed)["blocks"]["resumed"] >= 4
    assert only_product(out) in reference.products.items()
