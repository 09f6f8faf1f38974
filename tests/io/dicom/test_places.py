"""What lies in a place of DICOM: folders, zips, indexes and single files, with all that else may be there."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.fileset import FileSet

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.io.dicom.survey import named_files, series_at, survey
from seg_batch.io.dicom.tree import holds_dicom, tree_at
from seg_batch.io.sources import open_source
from tests.support.dicom_files import series_of, slice_of, write_series


def keys(place: Path, names: tuple[str, ...] = ()) -> dict[str, int]:
    """How many slices each series has, by its key."""
    return {one.key: len(one.slices) for one in survey(place, names).series}


def reasons(place: Path) -> dict[str, str]:
    return {other.file: other.why for other in survey(place).others}


def zipped(folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return target


def test_a_tree_a_zip_and_an_index_hold_the_same_series(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    a = write_series(tree / "x" / "a", (5, 6, 7), names="{:d}.txt".format)
    b = write_series(tree / "b", (4, 6, 7), names="1.2.840.{:d}".format, study_uid=a.study_uid)
    expected = {a.uid: 5, b.uid: 4}
    assert keys(tree) == expected
    assert keys(zipped(tree, tmp_path / "all.zip")) == expected
    media = FileSet()
    for path in sorted(tree.rglob("*")):
        if path.is_file():
            media.add(path)
    media.write(tmp_path / "media")
    assert keys(tmp_path / "media") == keys(tmp_path / "media" / "DICOMDIR") == expected
    assert reasons(tmp_path / "media") == {"DICOMDIR": "an index (DICOMDIR)"}
    shutil.copy(tmp_path / "media" / "DICOMDIR", tmp_path / "media" / "x.y")  # whatever its name
    assert keys(tmp_path / "media" / "x.y") == expected


def test_an_index_alone_names_files_that_are_not_read(tmp_path: Path) -> None:
    write_series(tmp_path / "tree")
    media = FileSet()
    for path in (tmp_path / "tree").iterdir():
        media.add(path)
    media.write(tmp_path / "media")
    (tmp_path / "other").mkdir()
    shutil.copy(tmp_path / "media" / "DICOMDIR", tmp_path / "other")
    with pytest.raises(InputError, match="no DICOM image there"):
        series_at(tmp_path / "other" / "DICOMDIR")


def test_what_is_in_a_zip_reads_as_what_is_in_a_folder(tmp_path: Path) -> None:
    write_series(tmp_path / "a", (5, 6, 7))
    place = zipped(tmp_path / "a", tmp_path / "any.name")
    with_zip, plain = open_source(place), open_source(tmp_path / "a")
    for source in (with_zip, plain):
        assert source.info.extent == (5, 6, 7)
    assert with_zip.info.georef == plain.info.georef
    box = Box((0, 0, 0), (5, 6, 7))
    assert np.array_equal(with_zip.read(box).values, plain.read(box).values)


def test_links_pipes_and_broken_files_are_set_aside(tmp_path: Path) -> None:
    place, outside = tmp_path / "place", tmp_path / "outside"
    series = write_series(place / "s", (4, 6, 7))
    write_series(outside, (9, 6, 7))
    (place / "s" / "out").symlink_to(outside / "0001")
    (place / "s" / "in").symlink_to(place / "s" / "0001")
    (place / "far").symlink_to(outside)
    (place / "loop").symlink_to(place)
    (place / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(place / "pipe")
    (place / "empty").touch()
    (place / "words").write_text("words " * 100)
    (place / "torn").write_bytes((place / "s" / "0000").read_bytes()[:300])
    with (place / "huge").open("wb") as file:
        file.truncate(1 << 40)  # sparse: only its first bytes are read
    assert keys(place) == {series.uid: 4}
    link = "a symbolic link, which is not followed"
    assert reasons(place) == {
        "dangling": link, "far": link, "loop": link, "s/in": link, "s/out": link,
        "empty": "empty", "huge": "not DICOM", "pipe": "no regular file", "words": "not DICOM",
        "torn": reasons(place)["torn"],
    }  # fmt: skip
    assert reasons(place)["torn"] not in ("", "not DICOM")


def test_a_zip_that_gives_nothing_says_why(tmp_path: Path) -> None:
    write_series(tmp_path / "a", (3, 4, 5))
    place = zipped(tmp_path / "a", tmp_path / "a.zip")
    (tmp_path / "half.zip").write_bytes(place.read_bytes()[: place.stat().st_size // 2])
    with zipfile.ZipFile(tmp_path / "words.zip", "w") as archive:
        archive.writestr("words", "words")
    with zipfile.ZipFile(tmp_path / "out.zip", "w") as archive:
        archive.writestr("../a", "words")
    said = {"half": "cut short", "words": "without DICOM", "out": "leads out of the zip"}
    for name, words in said.items():
        with pytest.raises(InputError, match=words):
            open_source(tmp_path / f"{name}.zip")


def test_a_zip_of_traps_is_read_as_far_as_it_is_sound(tmp_path: Path) -> None:
    series = write_series(tmp_path / "a", (4, 6, 7))
    place = zipped(tmp_path / "a", tmp_path / "a.zip")
    slice_bytes = (tmp_path / "a" / "0000").read_bytes()
    with zipfile.ZipFile(place, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../up", slice_bytes)
        archive.writestr("/root", slice_bytes)
        archive.writestr("inner.zip", place.read_bytes())
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        with archive.open("bomb", "w", force_zip64=True) as file:
            file.write(slice_bytes)
            for _ in range(300):
                file.write(bytes(1 << 20))
        encrypted = zipfile.ZipInfo("secret")
        archive.writestr(encrypted, slice_bytes)
    data = bytearray(place.read_bytes())
    at = data.rfind(b"secret") - 46  # of its entry in the directory
    assert data[at : at + 4] == b"PK\1\2"
    data[at + 8] |= 1
    place.write_bytes(data)
    assert keys(place) == {series.uid: 4}
    leads = "its name leads out of the zip"
    assert reasons(place) == {
        "../up": leads, "/root": leads, "inner.zip": "a zip, to be named by itself",
        "link": "no regular file", "bomb": "unpacks to far more than it takes in the zip",
        "secret": "encrypted",
    }  # fmt: skip
    (tmp_path / "cut.zip").write_bytes(data[: len(data) // 2])
    assert not holds_dicom(tmp_path / "cut.zip")
    with pytest.raises(InputError, match="damaged zip"):
        survey(tmp_path / "cut.zip")


@pytest.mark.parametrize("syntax", ["implicit", "explicit", "without meta header alone"])
def test_files_without_a_preamble_are_known_by_their_elements(tmp_path: Path, syntax: str) -> None:
    series = series_of((4, 6, 7))
    (tmp_path / "a").mkdir()
    for k in range(4):
        data = slice_of(series, k)
        meta, implicit = data.file_meta, syntax == "implicit"
        del data.file_meta
        path = tmp_path / "a" / str(k)
        pydicom.dcmwrite(path, data, implicit_vr=implicit, little_endian=True)
        if syntax == "without meta header alone":  # with a meta header, but no preamble
            data.file_meta = meta
            whole = tmp_path / "whole"
            pydicom.dcmwrite(whole, data, enforce_file_format=True)
            path.write_bytes(whole.read_bytes()[132:])
    assert keys(tmp_path / "a") == {series.uid: 4}
    assert open_source(tmp_path / "a").info.extent == (4, 6, 7)


@pytest.mark.parametrize(
    "head",
    [b"\x08\x00 this is no element", b"\x02\x00", bytes(1024), b"\x08\x00\x05\x00CS\x0a\x00" * 90],
)
def test_bytes_that_only_begin_like_an_element_are_no_dicom(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "a").write_bytes(head)
    assert not holds_dicom(tmp_path)


def test_dicom_with_the_head_of_a_tiff_in_its_preamble_is_dicom(tmp_path: Path) -> None:
    write_series(tmp_path / "a", (4, 6, 7))
    for path in (tmp_path / "a").iterdir():
        path.write_bytes(b"II*\0" + path.read_bytes()[4:])
    assert open_source(tmp_path / "a").info.format == "dicom"
    with pytest.raises(InputError, match="one slice, where a volume is needed; 3 more of its"):
        open_source(tmp_path / "a" / "0002")


def test_of_one_slice_the_folder_of_the_others_is_named(tmp_path: Path) -> None:
    write_series(tmp_path / "a", (4, 6, 7))
    write_series(tmp_path / "a", (9, 6, 7), names="other{:d}".format)
    with pytest.raises(
        InputError, match=f"3 more of its series lie beside it: give the folder {tmp_path}/a"
    ):
        series_at(tmp_path / "a" / "0002")


def test_no_more_than_the_named_files_are_opened(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    a = write_series(tmp_path, (4, 6, 7), names="a{:d}".format)
    write_series(tmp_path, (9, 6, 7), names="b{:d}".format)
    seen = survey(tmp_path)
    one = next(one for one in seen.series if one.key == a.uid)
    opened = list[str]()
    tree = type(tree_at(tmp_path))
    plain = tree.open
    monkeypatch.setattr(tree, "open", lambda self, name: opened.append(name) or plain(self, name))
    again = series_at(tmp_path, a.uid, named_files(one, seen))
    assert again == one
    assert sorted(opened) == ["a0", "a1", "a2", "a3"]
    opened.clear()
    survey(tmp_path, ("a0", "b0"))
    survey(tmp_path, ("a0", "b0"))
    assert sorted(opened) == ["a0", "b0"]  # as it was, a place is remembered
