"""Which inputs a tree of DICOM gives, what they are called, and what is left out of it."""

from __future__ import annotations

import os
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from seg_batch.batch.dry_run import plan_lines, plan_run
from seg_batch.batch.inputs.listing import Listing, list_inputs
from seg_batch.batch.job import request_of
from tests.support.batch.listings import made, put, reasons
from tests.support.dicom_files import series_of, write_series

SCOUT = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "SeriesNumber": 1}


def listed(folder: Path, inputs: Any, **more: Any) -> Listing:
    return list_inputs(made(folder, inputs, **more))


def outputs(found: Listing, folder: Path) -> dict[str, tuple[str, str]]:
    """Place and output of each series, by its key."""
    return {
        str(one.series): (
            os.path.relpath(one.path, folder), os.path.relpath(one.output or "", folder / "out")
        )
        for one in found.specs
    }  # fmt: skip


def test_each_series_of_a_tree_is_an_input_with_a_name_of_its_own(tmp_path: Path) -> None:
    tree = tmp_path / "archive"
    a = write_series(tree / "scan.1.2", (4, 6, 7))
    b = write_series(tree / "p1" / "ct", (4, 6, 7))
    c = write_series(tree / "p2" / "ct", (4, 6, 7))
    d = write_series(tree / "flat", (4, 6, 7), names="d{:d}".format, tags={"SeriesNumber": 2})
    e = write_series(tree / "flat", (5, 6, 7), names="e{:d}".format, tags={"SeriesNumber": 7})
    f = write_series(tree / "flat", (5, 6, 7), names="f{:d}".format, tags={"SeriesNumber": 7})
    found = listed(tmp_path, {"dicom": "archive/"})
    assert not found.refused
    named = outputs(found, tmp_path / "archive")
    assert {key: place for key, (place, _) in named.items()} == {
        a.uid: "scan.1.2", b.uid: "p1/ct", c.uid: "p2/ct", d.uid: "flat", e.uid: "flat", f.uid: "flat",
    }  # fmt: skip
    names = {one.series: os.path.basename(one.output or "") for one in found.specs}
    assert names == {
        a.uid: "scan.1.2_labels.nii.gz",
        b.uid: "p1_ct_labels.nii.gz",
        c.uid: "p2_ct_labels.nii.gz",
        d.uid: "flat_s2_labels.nii.gz",
        e.uid: f"flat_s7_{e.uid[-8:]}_labels.nii.gz".replace(".", "_", 0),
        f.uid: f"flat_s7_{f.uid[-8:]}_labels.nii.gz",
    }
    assert len(set(names.values())) == 6
    spec = next(one for one in found.specs if one.series == e.uid)
    assert spec.series_files == tuple(f"e{n}" for n in range(5))
    request = request_of(made(tmp_path, {"dicom": "archive/"}), spec)
    assert (request.series, request.series_files) == (e.uid, spec.series_files)
    assert request.image().open().info.extent == (5, 6, 7)


def test_images_without_a_volume_are_refused_and_the_rest_is_left_out(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    good = write_series(tree / "good", (4, 6, 7))
    gap = write_series(tree / "gap", (9, 6, 7), only=[0, 1, 2, 5, 6, 7, 8])
    write_series(tree / "scout", (2, 6, 7), tags=SCOUT)
    write_series(tree / "one", (1, 6, 7))
    (tree / "notes.txt").write_text("notes " * 50)
    workflow = made(tmp_path, {"dicom": "tree"}, model="probe")
    found = list_inputs(workflow)
    assert [one.series for one in found.specs] == [good.uid]
    (key, why), = found.refused.items()  # fmt: skip
    assert key == f"{tree}/gap#{gap.uid}"
    assert "2 slices missing" in why
    for words in ("a localiser", "one slice", "1 other file: not DICOM (1)"):
        assert sum(words in line for line in found.left_out) == 1
    plan = plan_run(workflow)
    assert list(plan["inputs"]) == [f"{tree}/good#{good.uid}"]
    assert len(plan["left_out"]) == 3
    lines = "\n".join(plan_lines(plan))
    assert lines.count("left out  ") == 3
    assert lines.count("refused  ") == 1


def test_a_tree_without_a_series_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "scouts", (2, 6, 7), tags=SCOUT)
    (tmp_path / "empty").mkdir()
    found = listed(tmp_path, {"dicom": ["scouts", "empty", "nowhere", "no*thing", "s3://bucket/a"]})
    assert not found.specs
    scouts, empty, nowhere, nothing, remote = reasons(found)
    assert "no DICOM series that could be a volume there; it holds a localiser (1)" in scouts
    assert "no DICOM series that could be a volume there: check the path" in empty
    assert "can't be read (No such file or directory)" in nowhere
    assert "no DICOM there: nothing matches it" in nothing
    assert "s3://" in remote


def test_zips_patterns_and_overlapping_places(tmp_path: Path) -> None:
    a = write_series(tmp_path / "in" / "a", (4, 6, 7))
    b = write_series(tmp_path / "in" / "b", (5, 6, 7), study_uid=a.study_uid)
    for name, folders in {"one.v2.zip": "a", "two.zip": "ab"}.items():
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for folder in folders:
                for path in (tmp_path / "in" / folder).iterdir():
                    archive.write(path, f"x/{folder}/{path.name}")
    found = listed(tmp_path, {"dicom": ["in/*", "in", "in/a", "*.zip"]})
    assert not found.refused
    assert sorted(os.path.relpath(one.output or "", tmp_path / "out") for one in found.specs) == [
        "a_labels.nii.gz", "b_labels.nii.gz", "one.v2_labels.nii.gz",
        "two_x_a_labels.nii.gz", "two_x_b_labels.nii.gz",
    ]  # fmt: skip
    for one in found.specs:
        extent = request_of(made(tmp_path, {"dicom": "in"}), one).image().open().info.extent
        assert extent == ((4, 6, 7) if one.series == a.uid else (5, 6, 7))
    one, = listed(tmp_path, {"dicom": "in", "series": b.uid}).specs  # fmt: skip
    assert one.series == b.uid
    one, = listed(tmp_path, {"dicom": "in", "exclude": "a/"}).specs  # fmt: skip
    assert one.series == b.uid
    assert (
        "no DICOM series called 9" in reasons(listed(tmp_path, {"dicom": "in", "series": "9"}))[0]
    )


@pytest.mark.parametrize("name", ["{:d}.dcm", "1.2.840.{:d}", "IM{:04d}"])
def test_paths_take_the_series_that_slices_make(tmp_path: Path, name: str) -> None:
    series = write_series(tmp_path / "scan.1", (9, 6, 7), names=name.format)
    put(tmp_path / "scan.1", "beside.nii.gz")
    for paths in ("scan.1", "scan.1/*.dcm") if name.endswith(".dcm") else ("scan.1",):
        found = listed(tmp_path, {"paths": [paths]})
        keys = {one.series: os.path.basename(one.output or "") for one in found.specs}
        nifti = {} if paths.endswith(".dcm") else {None: "beside_labels.nii.gz"}
        assert keys == {series.uid: "scan.1_labels.nii.gz", **nifti}
        assert not found.refused
    below = reasons(listed(tmp_path, {"paths": ["./"]}))[0]
    assert "inputs.dicom" in below


def test_a_table_names_the_series_of_each_row(tmp_path: Path) -> None:
    a = write_series(tmp_path / "in", (4, 6, 7), tags={"SeriesNumber": 5})
    write_series(tmp_path / "in", (5, 6, 7), names="b{:d}".format, tags={"SeriesNumber": 6})
    table = f"input,series,output\nin,6,six\nin,{a.uid},five\nin,,other\n"
    (tmp_path / "t.csv").write_text(table)
    found = listed(tmp_path, {"manifest": "t.csv"})
    six, five, other = found.specs
    assert (six.series, five.series, other.series) == ("6", a.uid, None)
    assert six.key == f"{tmp_path}/in#6"
    workflow = made(tmp_path, {"manifest": "t.csv"})
    extents = [request_of(workflow, one).image().open().info.extent for one in (six, five)]
    assert extents == [(5, 6, 7), (4, 6, 7)]


def test_two_volumes_of_one_uid_are_opened_apart(tmp_path: Path) -> None:
    base = series_of((4, 6, 7))
    write_series(tmp_path / "in" / "a", base)
    phase = {"ImageType": ["ORIGINAL", "PRIMARY", "PHASE"]}
    write_series(tmp_path / "in" / "b", replace(base, tags=phase, pixels=base.pixels[:3]))
    workflow = made(tmp_path, {"dicom": "in"})
    found = list_inputs(workflow)
    extents = {
        one.series: request_of(workflow, one).image().open().info.extent for one in found.specs
    }
    assert extents == {f"{base.uid}#1": (4, 6, 7), f"{base.uid}#2": (3, 6, 7)}
    assert len({one.output for one in found.specs}) == 2


def test_workflows_without_dicom_have_the_digest_that_they_had(tmp_path: Path) -> None:
    plain = made(tmp_path, {"paths": ["a"]}).to_json()["inputs"]
    assert not {"dicom", "series"} & plain.keys()
    assert made(tmp_path, {"dicom": "a"}).to_json()["inputs"]["dicom"] == [str(tmp_path / "a")]
