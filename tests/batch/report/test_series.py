"""A night over DICOM series and NIfTI: the page names each as people know it, and shows it as a PACS does."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.uid import generate_uid

from seg_batch.batch.journal.names import image_words, input_name
from seg_batch.batch.report import write
from seg_batch.batch.report.quicklook import draw_quicklook
from seg_batch.core.text import with_short_uids
from tests.support.batch.run_folders import Told, head, pixels, product
from tests.support.dicom_files import write_series
from tests.support.files import segbatch

pytestmark = pytest.mark.full  # left to make test: whole runs, or many networks

PERSON = {
    "PatientName": "Doe^Jane",
    "PatientID": "MRN-77",
    "PatientBirthDate": "19700102",
    "AccessionNumber": "ACC-9",
    "InstitutionName": "Lakeside",
}


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """A CT series, a tilted one, and a NIfTI volume."""
    folder = tmp_path_factory.mktemp("night")
    tags = {"SeriesDescription": "Abdomen portal", "SeriesNumber": 3, **PERSON}
    write_series(folder / "ct", (9, 20, 24), tags=tags)
    tilted = (0.0, 2.5 * np.sin(np.radians(12)), 2.5)
    write_series(folder / "head", (6, 20, 24), step=tilted, tags=PERSON)
    told = Told(folder / "run")
    for k, path in enumerate((folder / "ct", folder / "head", head(folder / "mr.nii.gz"))):
        facts, result = product(path, folder / f"out{k}.nii.gz")
        told.tell(1, "surveyed", str(path), facts=facts)
        told.done(2, 5, str(path), result, "nighthost:1")
    run = told.end(30)
    return write(run), (run / "report.html").read_text(encoding="utf-8")


def test_rows_know_their_series(night: tuple) -> None:
    ct, tilted, nifti = (row["image"] for row in night[0]["inputs"])
    assert ct["slices"] == 9
    assert ct["spacing_mm"] == [0.5, 0.75, 2.5]
    assert (ct["modality"], ct["description"], ct["number"]) == ("CT", "Abdomen portal", 3)
    assert "tilt_deg" not in ct
    assert tilted["tilt_deg"] == pytest.approx(12, abs=0.3)
    assert nifti == {"slices": 9, "spacing_mm": [1.0, 1.5, 3.0]}


def test_the_page_tells_them_and_no_person(night: tuple) -> None:
    facts, text = night
    assert "CT, Abdomen portal, series 3, 9 slices, 0.5 × 0.75 × 2.5 mm" in text
    assert "tilted by 1" in text
    for word in PERSON.values():
        assert word not in text
        assert word not in json.dumps(facts)
    assert text.count("<figure") == 3 * 3, "every series has its three slices"
    assert "No quicklook" not in text


def test_a_series_is_drawn_as_its_nifti(night: tuple) -> None:
    """Slices of any series lie as those of the volume that is made of it."""
    row = night[0]["inputs"][0]
    report = json.loads(Path(row["report"]).read_text())
    for view in draw_quicklook(row["input"], row["output"], report):
        assert view.image is not None
        assert pixels(view.labels)[..., 3].any()
    axial = draw_quicklook(row["input"], None, report)[0]
    stored = draw_quicklook(row["output"], None, {})[0]
    assert (axial.letters, axial.aspect) == (stored.letters, stored.aspect)
    assert axial.letters == "RLAP"


def test_tables_have_a_row_per_series(night: tuple) -> None:
    table = Path(night[0]["inputs"][0]["output"]).parent / "run/volumes_by_class.csv"
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["input"]).name for row in rows] == ["ct", "head", "mr.nii.gz"]
    assert all(float(row["residue 1 [mL]"]) > 0 for row in rows)


def test_nobody_reads_64_digits() -> None:
    uid = generate_uid()
    key, facts = f"/a/study 1#{uid}#2", {"number": 3, "description": "Abdomen portal"}
    assert input_name(key, facts) == "/a/study 1, series 3 Abdomen portal#2"
    assert input_name(key) == f"/a/study 1, …{uid[-8:]}#2"
    assert input_name(f"/a/{uid}/1") == f"/a/…{uid[-8:]}/1"
    assert input_name("/a/b.nii.gz", facts) == "/a/b.nii.gz"
    for text in ("scan-2.1.0.tif", "v1.2.3.4.5.6.7.nii.gz", "1.2.3.4.5.6.dcm"):
        assert with_short_uids(text) == text


def test_an_image_in_words() -> None:
    known = {"modality": "MR", "description": "T1", "number": 4, "slices": 1, "tilt_deg": 7.25}
    assert image_words(known) == "MR, T1, series 4, 1 slice, tilted by 7.25°"
    assert image_words({}) == ""


def test_a_run_over_a_tree_tells_its_series(tmp_path: Path) -> None:
    """One input per series, with readable names; what is wrong first; nothing of a person anywhere in the run folder."""
    portal = {"SeriesDescription": "Abdomen portal", "SeriesNumber": 3, **PERSON}
    late = {"SeriesDescription": "Abdomen late", "SeriesNumber": 4, **PERSON}
    write_series(tmp_path / "in/study", (5, 8, 9), tags=portal, names="a{}".format)
    write_series(tmp_path / "in/study", (5, 8, 9), tags=late, names="b{}".format)
    write_series(tmp_path / "in/gap", (5, 8, 9), tags=PERSON, only=(0, 1, 3, 4))
    head(tmp_path / "mr.nii.gz", (9, 8, 7))
    night = tmp_path / "night.yaml"
    night.write_text(
        "name: night\ninputs: {dicom: in, paths: mr.nii.gz}\nmodel: probe\noutputs: {folder: out}\n"
    )
    ran = segbatch("run", night)
    assert ran.status == 3, ran.err
    folder = tmp_path / "out/.segbatch/night"
    facts = json.loads((folder / "report.json").read_text())
    assert [row["status"] for row in facts["inputs"]] == ["refused", *["complete"] * 3]
    assert "1 slice missing" in facts["inputs"][0]["error"]
    told = {row["image"].get("description") for row in facts["inputs"][1:]}
    assert told == {"Abdomen portal", "Abdomen late", None}
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "study, series 3 Abdomen portal" in page
    assert "study, series 4 Abdomen late" in page
    assert page.count("<figure") == 3 * 3
    for file in (tmp_path / "out").rglob("*"):
        if file.is_file() and file.suffix != ".gz":
            assert not any(word.encode() in file.read_bytes() for word in PERSON.values()), file
