"""Names and colours, read by the rules of the programs that they are for."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import nibabel
import pytest

from seg_batch.config.card import ClassInfo
from seg_batch.core.georef import VolumeGeoref
from seg_batch.io.sinks.nifti_header import NAMES, label_table
from seg_batch.io.sinks.product import export_product
from seg_batch.io.sinks.spec import ProductSpec
from seg_batch.io.sinks.tables.class_colours import write_itk_snap, write_slicer
from tests.support.io.stores import card_of, full_store, product_spec, store_spec

GEOREF = VolumeGeoref(((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 2, 0), (0, 0, 0, 1)))
CLASSES = (
    ClassInfo(id=7, name='the "left"  lobe\n2', colour=(1, 2, 3)),
    ClassInfo(id=0, name="background", colour=(0, 0, 0)),
    ClassInfo(id=300, name="größe <&]]> _x_", colour=(255, 128, 0)),
    ClassInfo(id=9, name="", colour=(9, 9, 9)),
)


def spec(classes: tuple[ClassInfo, ...] = CLASSES) -> ProductSpec:
    return ProductSpec((2, 3, 4), "uint16", None, classes, GEOREF)


# IDX R G B A VIS MSH "LABEL", as in the header of every such file.
SNAP = re.compile(
    r'\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+([01](?:\.\d+)?)\s+([01])\s+([01])\s+"([^"]+)"'
)


def test_itk_snap(tmp_path: Path) -> None:
    write_itk_snap(tmp_path / "a.label", spec())
    lines = (tmp_path / "a.label").read_text().splitlines()
    matches = [SNAP.fullmatch(line) for line in lines if not line.startswith("#")]
    rows = [match.groups() for match in matches if match]
    assert len(rows) == len(matches), "every line is one"
    assert rows == [
        ("0", "0", "0", "0", "0", "0", "0", "background"),
        ("7", "1", "2", "3", "1", "1", "1", "the 'left' lobe\\n2"),
        ("9", "9", "9", "9", "1", "1", "1", "class 9"),
        ("300", "255", "128", "0", "1", "1", "1", "größe <&]]> _x_"),
    ]


def test_slicer(tmp_path: Path) -> None:
    write_slicer(tmp_path / "a.ctbl", spec())
    lines = (tmp_path / "a.ctbl").read_text().splitlines()
    rows = [line.split() for line in lines if not line.startswith("#")]
    assert {len(row) for row in rows} == {6}, "id, name, red, green, blue, opacity"
    assert [(row[0], row[1].replace("_", " "), *row[2:]) for row in rows] == [
        ("0", "background", "0", "0", "0", "0"),
        ("7", 'the "left" lobe\\n2', "1", "2", "3", "255"),
        ("9", "class 9", "9", "9", "9", "255"),
        ("300", "größe <&]]>  x ", "255", "128", "0", "255"),
    ]


def test_the_background_of_the_card_alone_is_clear(tmp_path: Path) -> None:
    of_card = replace(spec(), card=card_of(CLASSES, 9))
    write_slicer(tmp_path / "a.ctbl", of_card)
    rows = [line.split() for line in (tmp_path / "a.ctbl").read_text().splitlines()]
    assert {row[0]: row[-1] for row in rows if row[0].isdigit()} == {
        **dict.fromkeys(("0", "7", "300"), "255"),
        "9": "0",
    }
    assert label_table(of_card).count(b'Alpha="0"') == 1


@pytest.mark.parametrize("write", [write_itk_snap, write_slicer])
def test_zero_is_always_there(tmp_path: Path, write: object) -> None:
    path = tmp_path / "a"
    write(path, spec(CLASSES[2:]))  # type: ignore[operator]
    rows = [line.split() for line in path.read_text().splitlines() if not line.startswith("#")]
    assert [row[0] for row in rows] == ["0", "9", "300"]


def test_a_nifti_has_them_in_its_first_extension(tmp_path: Path) -> None:
    """As TotalSegmentator writes and reads them."""
    store = full_store(tmp_path / "s", store_spec((5, 6, 7), (4, 4, 4), GEOREF))
    path = tmp_path / "a.nii.gz"
    export_product(store, path, product_spec(store, classes=CLASSES))
    first, second = nibabel.load(path).header.extensions
    assert (first.get_code(), second.get_code()) == (NAMES, 6)
    root = ElementTree.fromstring(first.get_content())
    assert root.tag == "CaretExtension"
    (table,) = root.findall("VolumeInformation/LabelTable")
    found = {int(row.attrib["Key"]): (row.text, row.attrib) for row in table}
    assert {key: name for key, (name, _) in found.items()} == {
        7: 'the "left"  lobe\\n2',
        0: "background",
        300: "größe <&]]> _x_",
        9: "class 9",
    }
    red, green, blue, alpha = (float(found[300][1][k]) for k in ("Red", "Green", "Blue", "Alpha"))
    assert (red, round(green * 255), blue, alpha) == (1, 128, 0, 1)
    assert found[0][1]["Alpha"] == "0"
    assert root.findtext("VolumeInformation/VolumeType") == "Label"
