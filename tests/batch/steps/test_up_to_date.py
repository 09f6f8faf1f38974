"""Invalidation of a prediction whose model or inputs have changed."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from seg_batch.batch.steps.up_to_date import invalidate
from seg_batch.batch.summaries import file_stamp
from seg_batch.core.errors import OutputError
from seg_batch.core.run_files import JOURNAL
from seg_batch.inference.outputs import Outputs


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder whose journal tells of one product, a Zarr of two chunks with its report."""
    product = tmp_path / "map.zarr"
    for name in ("labels/0", "labels/1"):
        (product / name).parent.mkdir(parents=True, exist_ok=True)
        (product / name).write_text(name)
    Outputs(product).report.write_text("{}")
    size, mtime_ns = file_stamp(str(product))
    stamp = {"bytes": size, "mtime_ns": mtime_ns, "sha256": "0"}
    outcome = {"output": str(product), "product": stamp, "status": "complete"}
    folder = tmp_path / "run"
    folder.mkdir()
    event = {"event": "done", "input": "a.tif", "outcome": outcome, "t": 0, "tenure": 1}
    (folder / JOURNAL).write_text(json.dumps(event) + "\n")
    return folder


def test_product_report_and_journal_go(run: Path) -> None:
    invalidate(run)
    product = run.parent / "map.zarr"
    assert not product.exists()
    assert not Outputs(product).report.exists()
    assert not (run / JOURNAL).exists()


@pytest.mark.needs("lock")
def test_a_product_that_can_not_be_removed_keeps_its_report_and_its_journal(run: Path) -> None:
    product = run.parent / "map.zarr"
    labels = product / "labels"
    if os.geteuid() == 0:
        subprocess.run(["chattr", "+i", labels], check=True)
    else:
        labels.chmod(0o555)
    try:
        with pytest.raises(OutputError, match=r"map\.zarr"):
            invalidate(run)
        assert Outputs(product).report.exists()
        assert (run / JOURNAL).exists()
    finally:
        subprocess.run(["chattr", "-i", labels], check=False, capture_output=True)
        labels.chmod(0o755)
