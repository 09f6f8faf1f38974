"""What ``inspect`` shows of a place of DICOM, and what ``predict`` calls its product."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seg_batch.cli.display.series_table import place_facts, place_lines
from seg_batch.inference.outputs import outputs_for
from seg_batch.io.sources import open_source
from tests.support.dicom_files import CORONAL, oblique, write_series


@pytest.fixture
def place(tmp_path: Path) -> Path:
    def put(name: str, shape: tuple[int, int, int], number: int, **more: Any) -> None:
        tags = {"SeriesNumber": number, "SeriesDescription": name, **more.pop("tags", {})}
        write_series(tmp_path / "in" / name, shape, tags=tags, **more)

    put("scout", (2, 8, 9), 1, tags={"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]})
    put("thorax", (6, 20, 24), 2)
    put("liver", (5, 16, 12), 3, orientation=CORONAL, modality="MR")
    put("gap", (9, 16, 12), 4, only=[0, 1, 2, 5, 6, 7, 8])
    put("turned", (4, 16, 12), 12, orientation=oblique(12, 0, 0))
    (tmp_path / "in" / "notes").write_text("notes" * 40)
    return tmp_path / "in"


def test_a_place_of_several_series_is_a_table(place: Path) -> None:
    facts = place_facts(str(place))
    assert facts is not None
    rows = json.loads(json.dumps(facts))["series"]
    told = [(r["number"], r["slices"], r["size"], r["orientation"], r["fits"]) for r in rows]
    assert told == [
        (1, 2, [8, 9], "axial", False), (2, 6, [20, 24], "axial", True), (3, 5, [16, 12], "coronal", True),
        (4, 7, [16, 12], "axial", False), (12, 4, [16, 12], "axial, 12 deg off", True),
    ]  # fmt: skip
    assert rows[1]["spacing_mm"] == [2.5, 0.75, 0.5]
    assert facts["others"] == {"not DICOM": 1}
    lines = place_lines(facts).split("\n")
    assert lines[0] == f"{place}  (5 DICOM series)"
    assert lines[2].split() == ["no.", "uid", "modality", "description", "slices", "size", "voxel,", "mm", "lies"]  # fmt: skip
    assert lines[4].strip() == "left out: a localiser"
    assert "2 slices missing" in "\n".join(lines)
    table = [line for line in lines[2:10] if "left out" not in line]
    assert (
        len({line.index("  ..") for line in table[1:]}) == 1
    )  # the columns stand below one another
    assert lines[-2:] == [
        "other files: not DICOM (1)",
        "3 make a volume: choose one with --series 2, or take all with inputs.dicom of a workflow",
    ]


def test_one_series_has_the_page_of_a_file(place: Path) -> None:
    assert place_facts(str(place / "thorax")) is None
    assert place_facts(str(place / "thorax" / "0001")) is None
    shown = place_facts(str(place / "gap"))
    assert shown is not None
    assert place_lines(shown).endswith("none makes a volume")


def test_a_description_is_shown_as_text(tmp_path: Path) -> None:
    evil = {"SeriesDescription": "a\x1b[31mb\x07" + "c" * 60}
    for n in range(2):
        write_series(tmp_path / str(n), (4, 6, 7), tags=evil)
    facts = place_facts(str(tmp_path))
    assert facts is not None
    assert "\x1b" not in place_lines(facts)
    assert max(map(len, place_lines(facts).split("\n"))) < 130


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("scan.1.2", "scan.1.2_labels.nii.gz"),
        ("scan.1.2/", "scan.1.2_labels.nii.gz"),
        ("scan.1.2/../scan.1.2", "scan.1.2_labels.nii.gz"),
        ("sub/.", "sub_labels.nii.gz"),
    ],
)
def test_products_are_called_as_folders_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_series(tmp_path / Path(path).resolve().name, (4, 6, 7))
    assert outputs_for(open_source(path).info, None).product.name == name


def test_a_product_of_the_current_folder_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(tmp_path / "mr.7", (4, 6, 7))
    monkeypatch.chdir(tmp_path / "mr.7")
    assert outputs_for(open_source(".").info, "../").product.name == "mr.7_labels.nii.gz"
