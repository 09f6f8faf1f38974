"""Headers that can't be right are refused in one line before anything is allocated."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seg_batch.core.errors import SegbatchError
from seg_batch.io.sources import open_source
from tests.support.io.text_volumes import address, meta, nrrd

VALUES = address(4, 5, 6)


def refused(path: Path, words: str) -> None:
    with pytest.raises(SegbatchError) as caught:
        open_source(path)
    assert words in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"sizes": "6 5 999999999999999999999"}, "can't hold them"),
        ({"sizes": "6 5 -4"}, "axes of"),
        ({"sizes": "6 5 0"}, "axes of"),
        ({"sizes": "6 5"}, "has 2 numbers as sizes"),
        ({"sizes": "6 5 4.0"}, "no whole numbers"),
        ({"sizes": "6 5 0_4"}, "no whole numbers"),
        ({"dimension": "99999999"}, "99999999 axes"),
        ({"dimension": "-1"}, "-1 axes"),
        ({"type": "block"}, "no number of a known size"),
        ({"endian": "middle"}, "byte order"),
        ({"encoding": "ascii"}, "raw, gzip and bzip2 are read"),
        ({"encoding": "hex"}, "raw, gzip and bzip2 are read"),
        ({"byte skip": "-2"}, "byte skip"),
        ({"byte skip": "99999999999"}, "can't hold them"),
        ({"line skip": "9999999999"}, "lines, which are not there"),
        ({"space": "middle-of-nowhere"}, "none of the format's"),
        ({"space directions": "(1,0,0) (0,1,0) (0,0,nan)"}, "is none"),
        ({"space directions": "(1,0,0) (0,inf,0) (0,0,1)"}, "is none"),
        ({"space directions": "(1,0,0) (2,0,0) (0,0,1)"}, "can't be inverted"),
        ({"space directions": "(1,0,0) (0,0,0) (0,0,1)"}, "two or three that follow"),
        ({"space directions": "(1,0,0) (0,1,0)"}, "2 readable space directions"),
        ({"space directions": "(1,0) (0,1) (1,1)"}, "no vectors in 3 dimensions"),
        ({"space origin": "(nan,nan,nan)"}, "no place in 3 dimensions"),
        ({"space origin": "(1,2)"}, "no place in 3 dimensions"),
        ({"space origin": "somewhere"}, "no vector"),
        ({"kinds": "domain domain"}, "2 kinds"),
        ({"space units": '"mm" "cm" "mm"'}, "different units"),
    ],
)
def test_an_nrrd(tmp_path: Path, fields: dict[str, str], words: str) -> None:
    refused(nrrd(tmp_path / "a.nrrd", VALUES, **fields), words)


def test_fields_that_lack_or_come_twice(tmp_path: Path) -> None:
    for name in ("type", "dimension", "sizes", "encoding", "endian"):
        refused(nrrd(tmp_path / "a.nrrd", VALUES, drop=(name,)), f"lacks the field '{name}'")
    refused(nrrd(tmp_path / "a.nrrd", VALUES, drop=("space",)), "neither a space")
    refused(nrrd(tmp_path / "a.nrrd", VALUES, keys="type: int8\n"), "twice")
    for name in ("NDims", "DimSize", "ElementType"):
        refused(meta(tmp_path / "a.mha", VALUES, drop=(name,)), name)
    refused(meta(tmp_path / "a.mha", VALUES, drop=("ElementDataFile",)), "no field")
    text = (tmp_path / "b.mha", b"ObjectType = Image\nNDims = 3\nNDims = 3\n")
    text[0].write_bytes(text[1])
    refused(text[0], "twice")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"DimSize": "6 5 99999999999999999999"}, "can't hold them"),
        ({"DimSize": "6 5 -4"}, "axes of"),
        ({"NDims": "9", "DimSize": "1 1 1 1 1 1 1 1 1"}, "2 to 4 are read"),
        ({"ElementType": "MET_STRING"}, "which is not read"),
        ({"ElementNumberOfChannels": "0"}, "0 channels"),
        ({"ElementNumberOfChannels": "99999999999"}, "can't hold them"),
        ({"BinaryData": "False"}, "text"),
        ({"HeaderSize": "-5"}, "HeaderSize"),
        ({"HeaderSize": "100000"}, "can't hold them"),
        ({"ElementSpacing": "1 0 1"}, "not above 0"),
        ({"ElementSpacing": "1 nan 1"}, "is none"),
        ({"TransformMatrix": "1 0 0 1 0 0 0 0 1"}, "can't be inverted"),
        ({"TransformMatrix": "1 0 0 0"}, "where 9 are needed"),
        ({"Offset": "inf 0 0"}, "is none"),
        ({"ObjectType": "Mesh"}, "'Mesh'"),
        ({"ElementToIntensityFunctionSlope": "2"}, "ElementToIntensityFunctionSlope"),
    ],
)
def test_a_metaimage(tmp_path: Path, fields: dict[str, str], words: str) -> None:
    refused(meta(tmp_path / "a.mha", VALUES, **fields), words)


def test_a_size_that_other_programs_overlook_is_refused(tmp_path: Path) -> None:
    path = meta(tmp_path / "a.mha", VALUES, drop=("ElementSpacing",), ElementSize="1 2 3")
    refused(path, "ElementSize")


def test_headers_without_an_end(tmp_path: Path) -> None:
    path = tmp_path / "a.nrrd"
    path.write_bytes(b"NRRD0004\n" + (b"#" * 999 + b"\n") * 5_000)
    refused(path, "does not end within 4.0 MiB")
    path.write_bytes(b"NRRD0004\ntype: short\n")
    refused(path, "no empty line")
    path.write_bytes(b"NRRD0009\n\n")
    refused(path, "NRRD0005")
    path.write_bytes(
        b"ObjectType = Image\n" + b"".join(b"A%d = %999d\n" % (n, n) for n in range(5_000))
    )
    refused(path, "does not end within 4.0 MiB")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kinds": "complex domain domain", "space directions": "none (1,0,0) (0,1,0)"}, "'complex'"),
        ({"kinds": "3D-symmetric-matrix domain domain", "space directions": "none (1,0,0) (0,1,0)"},
         "'3d-symmetric-matrix'"),
        ({"kinds": "domain list domain", "space directions": "(1,0,0) none (0,1,0)"},
         "two or three that follow"),
    ],
)  # fmt: skip
def test_axes_that_are_no_channels(tmp_path: Path, fields: dict[str, str], words: str) -> None:
    refused(nrrd(tmp_path / "a.nrrd", VALUES, **fields), words)


def test_a_segmentation_of_several_layers_says_how_to_get_one(tmp_path: Path) -> None:
    values = np.stack([VALUES, VALUES], -1)
    layers = "Segment0_Layer:=0\nSegment1_Layer:=1\n"
    path = nrrd(
        tmp_path / "a.seg.nrrd", values, kinds="list domain domain domain", keys=layers,
        space_directions="none (1,0,0) (0,1,0) (0,0,1)",
    )  # fmt: skip
    refused(path, "a segmentation of 2 layers")


def test_analyze_has_no_place(tmp_path: Path) -> None:
    (tmp_path / "a.hdr").write_bytes(struct.pack("<i", 348) + bytes(344))
    (tmp_path / "a.img").write_bytes(bytes(100))
    refused(tmp_path / "a.hdr", "left and right can't be told")
    (tmp_path / "b.hdr").write_bytes(struct.pack("<i", 348) + bytes(340) + b"ni1\0")
    refused(tmp_path / "b.hdr", "without its voxels")


@pytest.mark.parametrize("make", [nrrd, meta])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(data=st.data())
def test_any_bytes_of_a_header_are_read_or_refused(
    tmp_path: Path, make, data: st.DataObject
) -> None:  # type: ignore[no-untyped-def]
    path = make(tmp_path / "a.mha", VALUES)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(7, 220))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        open_source(path).close()
    except SegbatchError as error:
        assert "\n" not in error.message  # noqa: PT017
