"""A pattern or folder without an image says why, and lists and manifests what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_batch.batch.inputs.expand import expand_inputs
from seg_batch.batch.inputs.listing import list_inputs
from seg_batch.config.workflow.parts import InputSettings
from seg_batch.core.errors import WorkflowError
from tests.support.batch.listings import made, put, reasons
from tests.support.dicom_files import write_series
from tests.support.files import write_volume


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("c [2024]/*.tif", "c [[]2024]/*.tif"),
        ("c [2024]/[ab].tif", "c [[]2024]/[ab].tif"),
        ("deep/a/*.TIF", "x.tif differs in capitals"),
        ("deep/*.tif", "deep/**/*.tif"),
        ("hidden/*.tif", ".h.tif begins with a dot"),
        ("hidden", "names that begin with a dot"),
        ("texts/*", "1 of .txt"),
        ("texts", "1 of .txt"),
        ("texts/*.tif", "holds 1 of .txt"),
        ("deep", "folders only"),
        ("nowhere/*.tif", "nowhere is not there"),
        ("texts/t.txt/*.tif", "a file and no folder"),
        ("$HOME/*.tif", "${NAME}"),
    ],
)
def test_what_matches_nothing_says_why(tmp_path: Path, pattern: str, words: str) -> None:
    put(tmp_path, "c [2024]/a.tif", "deep/a/x.tif", "hidden/.h.tif", "texts/t.txt")
    (spec,) = expand_inputs(InputSettings(paths=(f"{tmp_path}/{pattern}",)))
    assert spec.error is not None
    assert words in spec.error
    assert "\n" not in spec.error


def test_what_the_hint_says_is_right(tmp_path: Path) -> None:
    put(tmp_path, "c [2024]/a.tif")
    (spec,) = expand_inputs(InputSettings(paths=(f"{tmp_path}/c [2024]/*.tif",)))
    assert spec.error is not None
    better = spec.error.rpartition(" write ")[2]
    (spec,) = expand_inputs(InputSettings(paths=(better,)))
    assert (spec.error, spec.path) == (None, f"{tmp_path}/c [2024]/a.tif")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"input;output\na.tif;x\n", "separated by semicolons"),
        (b"input\toutput\na.tif\tx\n", "separated by tabs"),
        (b"input\n", "a header and no rows"),
        (b"\xef\xbb\xbfinput,output\r\n\r\n", "a header and no rows"),
        ("input\na.tif\n".encode("utf-16"), "UTF-16"),
    ],
)
def test_a_manifest_without_inputs_is_refused(tmp_path: Path, text: bytes, words: str) -> None:
    (tmp_path / "m.csv").write_bytes(text)
    with pytest.raises(WorkflowError) as refused:
        list_inputs(made(tmp_path, {"manifest": "m.csv"}))
    assert words in refused.value.message


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n"])
def test_a_list_without_inputs_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "l.txt").write_text(text)
    with pytest.raises(WorkflowError, match="names no input"):
        list_inputs(made(tmp_path, {"list": "l.txt"}))


def test_a_name_in_another_encoding_says_so(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes("input\nmünchen.tif\n".encode("cp1252"))
    (why,) = reasons(list_inputs(made(tmp_path, {"manifest": "m.csv"})))
    assert "not UTF-8" in why


def test_where_dicom_and_files_are_asked_for_alike_a_place_may_hold_either(tmp_path: Path) -> None:
    def found(**inputs: Any) -> list[tuple[str | None, str]]:
        specs = expand_inputs(InputSettings(**inputs))
        return [(spec.error, spec.left_out) for spec in specs]

    for place in ("nifti", "dicom", "none"):
        (tmp_path / place).mkdir()
    write_volume(tmp_path / "nifti/a.nii", np.zeros((3, 3, 3), np.uint8), np.eye(4))
    write_series(tmp_path / "dicom/a", (3, 4, 5))
    for place, said in (("nifti", "no DICOM series"), ("dicom", "no image there")):
        either = found(dicom=str(tmp_path / place), paths=f"{tmp_path / place}/**/*.nii*")
        assert all(error is None for error, _ in either)
        assert any(said in left_out for _, left_out in either)
        assert sum(not left_out for _, left_out in either) == 1
    both = found(dicom=str(tmp_path / "none"), paths=f"{tmp_path}/none/*.nii*")
    assert all(error for error, _ in both), "nothing at all is refused"
    (only,) = found(paths=f"{tmp_path}/none/*.nii*")
    assert only[0], "so is a pattern that is asked for alone"
    for dicom, paths in (("gone", "nifti/*.nii*"), ("dicom", "gone/*.nii*")):
        gone = found(dicom=str(tmp_path / dicom), paths=f"{tmp_path}/{paths}")
        assert any(error for error, _ in gone), "and a place that is not there"
