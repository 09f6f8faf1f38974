"""A bundle is added whole or not at all, under a name that was free."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from seg_batch.core.errors import BundleError, InputError
from seg_batch.core.resources import BUNDLES
from seg_batch.core.run_files import ADDED, ADDING
from seg_batch.inference.bundles import COMMANDS, find_bundle
from seg_batch.library.users_folder import staging
from tests.library.conftest import Adds, Refuses, Said, kept
from tests.support.library import files_of, keras_file, tarred, written, zipped

BESIDE = {
    "test.npz": b"n",
    "LICENSE": b"l",
    "README.md": b"r",
    "recipe.yaml": b"{}",
    "history.csv": b"",
    "examples/0.png": b"p",
}


def test_from_a_folder_and_every_kind_of_archive(tmp_path: Path, adds: Adds, home: Path) -> None:
    files = {**files_of(), **BESIDE}
    folder = written(tmp_path / "folder", files)
    sources = {
        "a": folder,
        "b": folder.as_uri(),
        "c": zipped(tmp_path / "c.zip", files),
        "d": zipped(tmp_path / "d.bin", files, top="toy-1.0/"),
        "e": tarred(tmp_path / "e.tar", files, mode="w:"),
        "f": tarred(tmp_path / "f.tar.gz", files, top="./toy/"),
        "g": (tmp_path / "c.zip").as_uri(),
    }
    for name, source in sources.items():
        facts = adds(source, name=name)
        assert facts["left_out"] == []
        assert {
            path.relative_to(home / name).as_posix(): path.read_bytes()
            for path in (home / name).rglob("*")
            if path.is_file() and path.name != ADDED
        } == files
        assert find_bundle(name).card.name == "toy"
        assert facts["card"]["scores"] == {"test": {"accuracy": 0.75, "mean_dice": 0.5}}
    assert sorted(os.listdir(home)) == sorted(sources)


def test_several_networks_in_one_bundle(tmp_path: Path, adds: Adds, home: Path, said: Said) -> None:
    xml, weights = b"<?xml version='1.0'?><net name='n'/>", (b"one", b"two")
    hashes = [hashlib.sha256(xml + data).hexdigest() for data in weights]
    files = files_of(format="openvino", weights_sha256=hashes[0], folds_sha256=hashes[1:])
    del files["model.keras"]
    for stem, data in zip(("model", "model_1"), weights, strict=True):
        files |= {f"{stem}.xml": xml, f"{stem}.bin": data}
    adds(zipped(tmp_path / "a.zip", files))
    assert "toy  (2-D raster, openvino, 2 networks, " in said("models", "list")
    assert "folds_sha256" in said("models", "toy")


def test_what_no_bundle_has_stays_outside_and_is_named(
    tmp_path: Path, adds: Adds, home: Path
) -> None:
    files = files_of()
    noise = {".git/hooks/x.sh": b"", "__MACOSX/._card.json": b"", ".DS_Store": b""}
    others = {
        "notes.docx": b"",
        "model.tflite": b"",
        "toy/deep/er/x.md": b"",
        "toy/other/y.md": b"",
    }
    packed = {f"toy/{name}": data for name, data in files.items()}
    top = {"toy/added.json": b"[]", "README.md": b""}
    facts = adds(zipped(tmp_path / "a.zip", {**packed, **noise, **others, **top}))
    assert sorted(facts["left_out"]) == sorted([*others, *top])
    assert set(os.listdir(home / "toy")) == {*files, ADDED}
    assert json.loads((home / "toy" / ADDED).read_text())["source"] == str(tmp_path / "a.zip")


def test_where_there_is_not_one_bundle(tmp_path: Path, refuses: Refuses) -> None:
    two = {f"{name}/{file}": data for name in ("a", "b") for file, data in files_of().items()}
    assert "holds 2 bundles (a, b)" in refuses(zipped(tmp_path / "two.zip", two))
    assert "holds 2 bundles (a, b)" in refuses(written(tmp_path / "two", two))
    assert "there is no card.json" in refuses(zipped(tmp_path / "none.zip", {"a.md": b""}))
    assert "there is no card.json" in refuses(written(tmp_path / "none", {"a.md": b""}))
    for missing in ("none.zip2", "no/where", "x.tar.gz"):
        assert "there is no " in refuses(missing)
    with pytest.raises(BundleError, match="there is no model 'nobody'"):
        refuses("nobody") and find_bundle("nobody")
    assert "is built in" in refuses("probe")
    (tmp_path / "m.keras").write_bytes(keras_file())
    assert "make a bundle of it with segbatch models import" in refuses(tmp_path / "m.keras")
    assert "a hash is that of one file" in refuses(tmp_path / "two", sha256="0" * 64)


def test_a_name_that_is_taken(tmp_path: Path, adds: Adds, refuses: Refuses, home: Path) -> None:
    first = zipped(tmp_path / "a.zip", files_of())
    second = zipped(tmp_path / "b.zip", files_of(network=keras_file(seed=2)))
    adds(first)
    before = kept(home)
    assert "toy is there already" in refuses(second)
    broken = zipped(tmp_path / "c.zip", files_of(weights_sha256="0" * 64))
    refuses(broken, overwrite=True)
    assert kept(home) == before
    adds(second, overwrite=True)
    assert kept(home)["toy/model.keras"] == files_of(network=keras_file(seed=2))["model.keras"]
    written(home / "mine", {"diary.txt": b""})
    assert "mine is there already" in refuses(first, name="mine", overwrite=True)
    assert "built-in predictor" in refuses(first, name="probe", overwrite=True)
    for command in COMMANDS:
        assert "is a command" in refuses(first, name=command, overwrite=True)
    assert "nothing is named" in refuses("")
    assert adds(first, name="other")["name"] == "other"


def test_a_bundle_that_would_hide_one_of_the_package(
    tmp_path: Path, adds: Adds, refuses: Refuses, home: Path
) -> None:
    archive = zipped(tmp_path / "a.zip", files_of("hippocampus-mri"))
    assert "which this one would hide" in refuses(archive)
    assert "which this one would hide" in refuses("hippocampus-mri")
    assert adds(archive, name="mine")["hides"] == []
    facts = adds(archive, overwrite=True)
    assert facts["hides"] == [str(BUNDLES / "hippocampus-mri")]
    assert find_bundle("hippocampus-mri").path == home / "hippocampus-mri"


def test_a_bundle_that_is_hidden(
    tmp_path: Path, adds: Adds, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = written(tmp_path / "first" / "toy", files_of())
    monkeypatch.setenv("SEGBATCH_BUNDLES", str(first.parent))
    assert adds(first, name="toy")["hidden_by"] == [str(first)]
    assert find_bundle("toy").path == first


def test_what_a_killed_command_left_is_swept(tmp_path: Path, adds: Adds, home: Path) -> None:
    written(home / ADDING / "unpacked", files_of())
    written(home / "old.part" / "earlier", files_of("old"))  # killed between two moves
    adds(zipped(tmp_path / "a.zip", files_of()))
    assert sorted(os.listdir(home)) == ["old", "toy"]


def test_one_at_a_time(tmp_path: Path, refuses: Refuses) -> None:
    archive = zipped(tmp_path / "a.zip", files_of())
    with staging():
        assert "another segbatch is adding" in refuses(archive)


def test_the_command(tmp_path: Path, home: Path, said: Said) -> None:
    more = {"x.docx": b"", "test.npz": b"n"}
    archive = zipped(tmp_path / "a.zip", {**files_of(description="\x1b[31mred"), **more})
    lines = said("models", "add", str(archive), "--name", "mine").splitlines()
    assert "SHA-256 " in lines[0]
    assert lines[1] == "left out, since bundles have no such files: x.docx"
    assert lines[-2] == "it has a test patch: segbatch models check mine runs it here"
    assert lines[-1] == str(home / "mine")
    assert "\x1b" not in "".join(lines)
    assert json.loads(said("models", "--json", "add", str(archive)))["name"] == "toy"
    with pytest.raises(InputError, match="--max-size 'much' is no size"):
        said("models", "add", str(archive), "--max-size", "much")
    with pytest.raises(InputError, match="name it with --index"):
        said("models", "list", "--index-sha256", "0" * 64)
