"""Folders and archives that hold a card of another world; what is in them may have been made to do harm."""

from __future__ import annotations

import json
import stat
import zipfile
from pathlib import Path

import pytest

from seg_batch.conversion.cards import archive
from seg_batch.conversion.cards.opening import opened
from seg_batch.core.errors import InputError
from tests.conversion.cards.test_monai import AFTER, LOAD, RANGE, bundle
from tests.conversion.cards.test_stac import item


def packed(path: Path, folder: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for part in sorted(folder.rglob("*")):
            file.write(part, prefix + str(part.relative_to(folder)))
    return path


@pytest.mark.parametrize("prefix", ["", "spleen/"])
def test_a_zip_is_read_like_its_folder_and_goes_again(tmp_path: Path, prefix: str) -> None:
    folder = bundle(tmp_path / "b", [*LOAD, RANGE], AFTER)
    with opened(folder) as expected, opened(packed(tmp_path / "b.zip", folder, prefix)) as foreign:
        assert foreign is not None
        assert expected is not None
        assert foreign.fields == expected.fields
        assert foreign.model.read_bytes() == b"network"
    assert not foreign.model.exists()


@pytest.mark.parametrize("name", ["../evil.txt", "/evil.txt", "a/../../evil.txt", "C:\\evil.txt"])
def test_a_path_outside_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "b.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(zipfile.ZipInfo(name), "x")
    with pytest.raises(InputError, match="leads outside"), opened(path):
        pass
    assert [p.name for p in tmp_path.parent.rglob("evil*")] == []


def test_a_link_is_refused(tmp_path: Path) -> None:
    path, info = tmp_path / "b.zip", zipfile.ZipInfo("rdf.yaml")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(info, "/etc/passwd")
    with pytest.raises(InputError, match="is a link"), opened(path):
        pass


@pytest.mark.parametrize("names", [("rdf.yaml", "RDF.yaml"), ("a", "a/rdf.yaml"), ("a/b", "a")])
def test_two_files_in_one_place_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as file:
        for name in names:
            file.writestr(name, "x")
    with pytest.raises(InputError, match="is in it twice"), opened(tmp_path / "b.zip"):
        pass


def test_more_than_there_is_room_for_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MOST_BYTES", 1000)
    path = tmp_path / "b.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros", b"\0" * 100_000)
    with pytest.raises(InputError, match="no room for it"), opened(path):
        pass


def test_a_link_beside_a_document_does_not_lead_outside(tmp_path: Path) -> None:
    secret = tmp_path / "secret.onnx"
    secret.write_bytes(b"secret")
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "water.json").write_text(json.dumps(item()))
    (folder / "water.onnx").symlink_to(secret)
    with pytest.raises(InputError, match="outside"), opened(folder):
        pass


def test_two_worlds_in_one_folder_are_named(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b", [*LOAD, RANGE])
    (folder / "water.json").write_text(json.dumps(item()))
    with pytest.raises(InputError, match=r"configs/metadata.json or water.json"), opened(folder):
        pass


def test_other_files_are_no_cards(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x")
    (tmp_path / "numbers.json").write_text("[1, 2]")
    (tmp_path / "broken.json").write_text('{"mlm:input"')
    (tmp_path / "card.yaml").write_text("channels: [a]\n")
    for path in (tmp_path / "model.onnx", tmp_path / "numbers.json", tmp_path / "card.yaml"):
        with opened(path) as foreign:
            assert foreign is None
    with pytest.raises(InputError, match="is not JSON"), opened(tmp_path / "broken.json"):
        pass
