"""A run over images of several files: the incomplete are refused by name, the rest is done and kept."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_batch.batch.dry_run import plan_run
from seg_batch.batch.report import write
from seg_batch.batch.run import run_unattended
from seg_batch.config.workflow import Workflow
from seg_batch.core.callbacks import Callback
from seg_batch.inference.api.predict import predict
from seg_batch.inference.verify import verify_product
from tests.support.files import address_volume, write_volume

AFFINE = np.diag([1.0, 1, 2, 1])


def put(folder: Path, case: str, *channels: str, affine: np.ndarray = AFFINE) -> None:
    folder.mkdir(exist_ok=True)
    for n, channel in enumerate(channels):
        values = address_volume((20, 21, 22)) + n
        write_volume(folder / f"{case}_{channel}.nii.gz", values, affine if n else AFFINE)


def report_of(workflow: Workflow) -> dict[str, Any]:
    status = run_unattended(workflow, Callback(), print, write)["status"]
    facts = json.loads((Path(workflow.run_folder) / "report.json").read_text())
    return {"status": status, **{Path(r["input"]).name: r for r in facts["inputs"]}}


@pytest.mark.full
def test_a_run_of_stacks(night: Callable[..., Workflow], tmp_path: Path) -> None:
    folder, moved = tmp_path / "in", np.diag([1.0, 1, 2.01, 1])
    put(folder, "p1", "t1c", "flair")
    put(folder, "p2", "t1c", "flair")
    put(folder, "p3", "t1c")
    put(folder, "p4", "t1c", "flair", affine=moved)
    patterns = [f"{folder}/{{id}}_{channel}.nii.gz" for channel in ("t1c", "flair")]
    workflow = night(inputs={"stack": patterns}, options={})
    plan = plan_run(workflow)
    whole, other = (f"{folder}/{p}_t1c.nii.gz|{p}_flair.nii.gz" for p in ("p1", "p2"))
    assert set(plan["inputs"]) == {whole, other}
    assert len(plan["refused"]) == 2
    facts = report_of(workflow)
    assert facts["status"] == 3
    assert facts[Path(whole).name]["status"] == facts[Path(other).name]["status"] == "complete"
    assert "no " in facts["p3_t1c.nii.gz|p3_flair.nii.gz"]["error"]
    assert "can't be stacked" in facts["p4_t1c.nii.gz|p4_flair.nii.gz"]["error"]
    product = tmp_path / "out" / "p1_labels.nii.gz"
    assert verify_product(product)["ok"]
    files = [folder / f"p1_{channel}.nii.gz" for channel in ("t1c", "flair")]
    alone = predict(files, tmp_path / "alone.nii.gz", model="probe")
    assert json.loads(Path(f"{product}.json").read_text())["source"]["files"] == [*map(str, files)]
    assert alone["product"]["sha256"] == facts[Path(whole).name]["product"]["sha256"]
    listed = (Path(workflow.run_folder) / "set-aside.txt").read_text()
    for p in ("p3", "p4"):
        assert f"{folder}/{p}_t1c.nii.gz|{folder}/{p}_flair.nii.gz" in listed.splitlines()
    os.utime(files[1], ns=(1, 1))
    assert plan_run(workflow)["complete"] == [other]


def test_the_page_shows_a_stack(night: Callable[..., Workflow], tmp_path: Path) -> None:
    put(tmp_path / "in", "p1", "t1c", "flair")
    cases = [{"id": "p1", "image": [f"{tmp_path}/in/p1_{c}.nii.gz" for c in ("t1c", "flair")]}]
    workflow = night(inputs={"cases": cases}, options={})
    report_of(workflow)
    page = (Path(workflow.run_folder) / "report.html").read_text()
    assert "data:image/" in page
    assert "is missing" not in page
