"""A group publishes a folder of bundles, and others add from its index exactly what it published."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import BundleError, InputError, OutputError
from seg_batch.library.add import index_facts
from seg_batch.library.publish import Publication, write_index
from tests.library.conftest import Adds, Refuses, Said
from tests.support.library import Server, files_of, keras_file, sending, written

GROUP = Publication("the group", "2026.1")


@pytest.fixture
def bundles(tmp_path: Path) -> Path:
    """A folder of two bundles; what they are called is what their folders are."""
    written(tmp_path / "bundles/first", {**files_of(), "LICENSE": b"l", "examples/0.png": b"p"})
    return written(tmp_path / "bundles/second", files_of(network=keras_file(seed=3))).parent


@pytest.fixture
def index(bundles: Path, tmp_path: Path) -> Path:
    path = tmp_path / "site" / "index.json"
    write_index(bundles, path, GROUP, Callback())
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_is_published_says_what_each_is(index: Path) -> None:
    content = json.loads(index.read_text())
    assert (content["schema_version"], content["name"]) == (1, "the group")
    assert [entry["name"] for entry in content["bundles"]] == ["first", "second"]
    for entry in content["bundles"]:
        archive = index.parent / entry["url"]
        assert (sha256(archive), archive.stat().st_size) == (entry["sha256"], entry["bytes"])
        assert (entry["version"], entry["card"]["channels"]) == ("2026.1", ["red", "nir"])
        assert entry["card"]["scores"] == {"test": {"accuracy": 0.75, "mean_dice": 0.5}}
    assert len(list(index.parent.iterdir())) == 3


def test_equal_bundles_give_equal_bytes(bundles: Path, index: Path, tmp_path: Path) -> None:
    elsewhere = Path(shutil.copytree(bundles, tmp_path / "elsewhere" / "copy"))
    for path in elsewhere.rglob("*"):
        path.touch()
        path.chmod(0o700)
    write_index(elsewhere, tmp_path / "again" / "i.json", GROUP, Callback())
    assert (tmp_path / "again/i.json").read_bytes() == index.read_bytes()
    for path in (tmp_path / "again").glob("*.zip"):
        assert path.read_bytes() == (index.parent / path.name).read_bytes()


def test_what_was_published_before_stays_to_be_had(
    bundles: Path, index: Path, tmp_path: Path, adds: Adds
) -> None:
    before = shutil.copy(index, tmp_path / "site" / "before.json")
    written(bundles / "first", files_of(network=keras_file(seed=9)))
    with pytest.raises(OutputError, match="exists"):
        write_index(bundles, index, GROUP, Callback())
    write_index(bundles, index, Publication(overwrite=True), Callback())
    old, new = (
        adds("first", index=str(path), name=f"of-{path.stem}") for path in (Path(before), index)
    )
    assert old["sha256"] != new["sha256"]


def test_it_is_added_from_a_server(
    index: Path, served: tuple[Server, str], adds: Adds, refuses: Refuses
) -> None:
    server, address = served
    for path in index.parent.iterdir():
        server.answers[f"/lib/{path.name}"] = sending(path.read_bytes())
    where, pinned = f"{address}/lib/index.json", sha256(index)
    facts = adds("second", index=where, index_sha256=pinned)
    assert facts["otherwise"] == []
    assert (facts["name"], facts["version"], facts["index_sha256"]) == ("second", "2026.1", pinned)
    assert [e["name"] for e in index_facts(where, pinned, Callback())["bundles"]] == [
        "first",
        "second",
    ]
    asked = len(server.asked)
    assert "not " + "0" * 64 in refuses("first", index=where, index_sha256="0" * 64)
    assert len(server.asked) == asked + 1  # the index alone
    assert "did you mean first?" in refuses("frist", index=where)
    assert "larger than 100 B" in refuses("first", index=where, most_bytes=100)


def test_an_archive_that_is_not_the_one_of_the_index(
    index: Path, served: tuple[Server, str], refuses: Refuses
) -> None:
    server, address = served
    (first, _) = json.loads(index.read_text())["bundles"]
    good = (index.parent / first["url"]).read_bytes()
    server.answers["/index.json"] = sending(index.read_bytes())
    for data, said in (
        (good[:-1] + bytes([good[-1] ^ 1]), "as the index says"),
        (good[:-1], "as the index says"),
        (good + b"0", "so it was changed"),
    ):
        server.answers[f"/{first['url']}"] = sending(data)
        assert said in refuses("first", index=f"{address}/index.json")


def test_an_index_from_the_net_names_no_files_of_this_machine(
    index: Path, served: tuple[Server, str], adds: Adds, refuses: Refuses
) -> None:
    server, address = served
    content = json.loads(index.read_text())
    here = (index.parent / content["bundles"][0]["url"]).resolve()
    for url in (here.as_uri(), "http://127.0.0.1/x.zip"):
        content["bundles"][0]["url"] = url
        server.answers["/index.json"] = sending(json.dumps(content).encode())
        assert "https" in refuses("first", index=f"{address}/index.json")
    content["bundles"][0]["url"] = here.as_uri()
    content["bundles"][0]["card"]["licence"] = "free"
    index.write_text(json.dumps(content))
    facts = adds("first", index=str(index))  # one that lies here may
    assert facts["otherwise"] == ["licence free"]
    assert facts["card"]["licence"] == "CC0-1.0"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("words", "is not JSON"),
        ("[]", "is no index"),
        ("{}", "is no index"),
        ("[" * 100000, "is not JSON"),
        ('{"schema_version": 2, "bundles": []}', "upgrade segbatch"),
        ('{"bundles": [{}]}', "bundles.0.name"),
        ('{"bundles": [], "more": 1}', "more"),
    ],
)
def test_what_is_no_index(text: str, said: str, tmp_path: Path, refuses: Refuses) -> None:
    (tmp_path / "i.json").write_text(text)
    assert said in refuses("first", index=str(tmp_path / "i.json"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "../x"),
        ("name", "second"),
        ("sha256", "00"),
        ("bytes", 0),
        ("url", ""),
        ("card", {}),
    ],
)
def test_an_entry_that_is_none(key: str, value: object, index: Path, refuses: Refuses) -> None:
    content = json.loads(index.read_text())
    content["bundles"][0][key] = value
    index.write_text(json.dumps(content))
    assert str(index) in refuses("first", index=str(index))


def test_nothing_is_published_that_could_not_be_added(bundles: Path, tmp_path: Path) -> None:
    site = tmp_path / "site" / "index.json"
    (bundles / "second/train.py").touch()
    with pytest.raises(InputError, match="hold code"):
        write_index(bundles, site, GROUP, Callback())
    (bundles / "second/train.py").unlink()
    (bundles / "first/model.keras").write_bytes(keras_file(seed=8))
    with pytest.raises(BundleError, match="does not match the hash"):
        write_index(bundles, site, GROUP, Callback())
    assert list(site.parent.iterdir()) == []
    with pytest.raises(InputError, match="holds no bundle"):
        write_index(tmp_path / "site", site, GROUP, Callback())


def test_the_commands(bundles: Path, tmp_path: Path, said: Said) -> None:
    site = str(tmp_path / "out" / "index.json")
    made = said("models", "index", str(bundles), "-o", site, "--name", "us", "--version", "3")
    assert f"--index URL --index-sha256 {sha256(Path(site))}" in made
    assert "second 3  (2-D raster, keras," in said("models", "list", "--index", site)
    added = said("models", "add", "first", "--index", site, "--json")
    assert json.loads(added)["name"] == "first"
