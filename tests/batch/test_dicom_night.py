"""A run over a tree of DICOM: the labels of the NIfTI made from it, resumed as any run is, each header read once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK

from seg_batch.batch.job import job_of
from seg_batch.batch.report import write
from seg_batch.batch.run import run_unattended
from seg_batch.config.workflow import Workflow
from seg_batch.core.callbacks import Callback
from seg_batch.inference.api.predict import predict
from seg_batch.inference.verify import verify_product
from seg_batch.io.dicom.tree import tree_at
from tests.support.dicom_files import SAGITTAL, oblique, write_series


def ran(workflow: Workflow) -> dict[str, Any]:
    return run_unattended(workflow, Callback(), print, write)


def places(folder: Path) -> None:
    write_series(folder / "p1" / "ct", (12, 20, 22), names="i{:d}".format)
    write_series(folder / "flat", (9, 18, 14), names="x{:d}".format, orientation=SAGITTAL)
    write_series(
        folder / "flat", (8, 16, 24), names="y{:d}".format, orientation=oblique(3, 9, 14),
        modality="MR", tags={"SeriesNumber": 8},
    )  # fmt: skip


@pytest.mark.full
def test_a_night_over_dicom_gives_the_labels_of_its_nifti(
    night: Callable[..., Workflow], tmp_path: Path
) -> None:
    places(tmp_path / "in")
    workflow = night(inputs={"dicom": str(tmp_path / "in")}, options={})
    assert ran(workflow)["status"] == 0
    for one in job_of(workflow).requests.values():
        folder = Path(one.files[0])
        files = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), one.series or "")
        SimpleITK.WriteImage(SimpleITK.ReadImage(files), tmp_path / "a.nii.gz")
        predict(tmp_path / "a.nii.gz", tmp_path / "b.nii.gz", model="probe", overwrite=True)
        ours, theirs = (nibabel.load(path) for path in (str(one.output), tmp_path / "b.nii.gz"))
        assert np.allclose(ours.affine, theirs.affine, atol=1e-4)
        assert np.array_equal(ours.get_fdata(), theirs.get_fdata())
        assert len(np.unique(ours.get_fdata())) > 1
        assert verify_product(Path(str(one.output)))["ok"]


@pytest.mark.full
def test_a_night_goes_on_with_what_changed_and_what_came(
    night: Callable[..., Workflow], tmp_path: Path
) -> None:
    places(tmp_path / "in")
    workflow = night(inputs={"dicom": str(tmp_path / "in")}, options={})
    assert ran(workflow)["complete"] == 3
    again = ran(workflow)
    assert (again["complete"], again["resumed"]) == (3, 3)
    write_series(tmp_path / "in" / "new", (5, 16, 14))
    write_series(tmp_path / "in" / "p1" / "scout", (1, 16, 14))
    later = ran(workflow)
    assert (later["complete"], later["resumed"]) == (4, 3)
    log = [
        json.loads(line)
        for line in (Path(workflow.run_folder) / "log.jsonl").read_text().splitlines()
    ]
    assert sum(line["event"] == "left out" for line in log) == 1
    path = tmp_path / "in" / "p1" / "ct" / "i3"
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    changed = ran(workflow)  # as a changed file of any format
    facts = json.loads((Path(workflow.run_folder) / "report.json").read_text())["inputs"]
    assert (changed["complete"], changed["refused"]) == (3, 1)
    (why,) = [row["error"] for row in facts if row["status"] == "refused"]
    assert "the input file has changed since" in why


def test_a_listing_reads_each_header_once(
    night: Callable[..., Workflow], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places(tmp_path / "in")
    opened = Counter[str]()
    tree = type(tree_at(tmp_path))
    plain = tree.open

    def counted(self: Any, name: str) -> Any:
        opened[str(self.root / name)] += 1
        return plain(self, name)

    monkeypatch.setattr(tree, "open", counted)
    requests = job_of(night(inputs={"dicom": str(tmp_path / "in")}, options={})).requests
    assert set(opened.values()) == {1}
    assert len(opened) == 29
    opened.clear()
    one = next(one for one in requests.values() if "y3" in one.series_files)
    one.image().open()
    assert len(opened) == 8  # of a folder with two series
